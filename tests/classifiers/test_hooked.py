"""A model that cannot be cut: hooks keep and replace what its modules return."""

from __future__ import annotations

import warnings

import pytest
import torch
from support.digits import DigitWary, seeded
from support.models import GREY, subject, tiny_images, tiny_model

from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.wrapping import wrap

DIGIT = {"input_shape": (1, 8, 8), "bounds": (0.0, 1.0)}


@torch.inference_mode()
def test_hooks_survive_work_in_place() -> None:
    """A latent that the model goes on to overwrite is kept as it was, and resuming from it is exact."""
    classifier = wrap(tiny_model("branching"), **GREY, sites=("conv1", "conv2", "relu2"))
    x = tiny_images("branching", 4)
    logits, latents = classifier.trace(x)
    torch.testing.assert_close(latents["conv1"], tiny_model("branching").conv1(x))
    for site, latent in latents.items():
        torch.testing.assert_close(classifier.resume(site, latent, x), logits)


@torch.inference_mode()
def test_hooks_are_removed_even_after_an_error() -> None:
    """A forward that fails leaves no hook behind that would change later answers."""
    part = subject("branching")
    before = part.classifier.logits(part.x)
    with pytest.raises(OverflowError):
        part.classifier.trace(part.x * 1e9)
    with pytest.raises(OverflowError):
        part.classifier.resume("conv3", torch.zeros(8, 8, 3, 3), part.x * 1e9)
    assert torch.equal(part.classifier.logits(part.x), before)


@pytest.mark.slow
def test_hooks_reach_into_compiled_parts() -> None:
    """Compiled code does not see hooks that come after it, so a hooked model is run as it was written."""
    model = seeded(DigitWary).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.stage2 = torch.compile(model.stage2)
    classifier = wrap(model, **DIGIT, sites=("stage2.0",))
    assert isinstance(classifier, HookClassifier)
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        logits, latents = classifier.trace(x)
        torch.testing.assert_close(classifier.resume("stage2.0", latents["stage2.0"], x), logits)
        assert not torch.allclose(classifier.resume("stage2.0", -latents["stage2.0"], x), logits, atol=1e-3)
