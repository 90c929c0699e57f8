"""Any PyTorch classifier behind one seam: cut where possible, hooked where not."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from support.models import GREY, PLAIN, TINY, Subject, around, subject, tiny_images, tiny_model, two_logits
from torch import Tensor, nn

from ce_detect.classifiers.base import is_classifier
from ce_detect.classifiers.checks import unwrapped
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import at_float32, wrap
from ce_detect.core.errors import ModelError


def test_models_are_cut_where_they_can_be(any_model: Subject) -> None:
    """The class of the wrapper and the numbers that it states are those of the registry; it fits the protocol."""
    classifier, tiny = any_model.classifier, any_model.tiny
    assert isinstance(classifier, TorchClassifier if tiny.cut else HookClassifier)
    assert is_classifier(classifier)
    assert (classifier.num_classes, classifier.elastic) == (tiny.classes, tiny.elastic)
    assert (classifier.input_shape, classifier.bounds) == (tiny.shape, tiny.bounds)
    assert str(classifier.device) == "cpu"


def test_fallback_says_so_once(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """A model that cannot be cut is announced when it is wrapped, never again, and torch.export prints nothing."""
    with caplog.at_level(logging.WARNING):
        classifier = wrap(tiny_model("branching"), **GREY)
        x = tiny_images("branching", 2)
        for site, latent in classifier.trace(x).latents.items():
            classifier.resume(site, latent, x)
    assert [record.name for record in caplog.records] == ["ce_detect"]
    assert "cannot cut BranchingCNN" in caplog.text
    assert "every resume costs a whole forward" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_model_whose_graph_disagrees_is_hooked(caplog: pytest.LogCaptureFixture) -> None:
    """A model that knows whether it is captured gives another graph, and the log says so."""
    model = around("plain", lambda z: z + 1 if torch.compiler.is_compiling() else z)
    with caplog.at_level(logging.WARNING):
        classifier = wrap(model, **PLAIN)
    assert isinstance(classifier, HookClassifier)
    assert "its graph disagrees with it" in caplog.text


def test_a_random_model_is_refused() -> None:
    """A model that never answers twice alike has no signature; the error says so and what to do."""
    with pytest.raises(ModelError, match=r"gives other logits for the same images each time.*Draw from a fixed seed"):
        wrap(around("plain", lambda z: z + torch.randn_like(z)), **PLAIN)


class WritesIntoItsInput(nn.Module):
    """Normalises in place, as careless code does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a model whose input is moved first."""
        x -= 0.25
        return self.model(x)


@pytest.mark.parametrize(("name", "kind"), [("plain", TorchClassifier), ("branching", HookClassifier)])
@torch.inference_mode()
def test_model_that_writes_into_its_input_is_tamed(name: str, kind: type) -> None:
    """A model that overwrites its input is wrapped without overwriting the caller's."""
    part = subject(name)
    classifier = wrap(WritesIntoItsInput(part.model).eval(), input_shape=part.tiny.shape, bounds=part.tiny.bounds)
    assert isinstance(classifier, kind)
    x = part.x.clone()
    logits = classifier.trace(x).logits
    assert torch.equal(x, part.x)
    torch.testing.assert_close(logits, part.model(part.x - 0.25), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@torch.inference_mode()
def test_any_precision_is_float32_outside(any_model: Subject, dtype: torch.dtype) -> None:
    """Pixels are cast to the type of the weights; logits and latents come back as float32 and go in again."""
    model = any_model.model.to(dtype)
    classifier = wrap(model, input_shape=any_model.tiny.shape, bounds=any_model.tiny.bounds)
    assert type(classifier) is type(any_model.classifier)
    assert classifier.sites == any_model.classifier.sites
    assert classifier.fingerprint() != any_model.classifier.fingerprint()
    expected = two_logits(model(any_model.x.to(dtype)).float())
    slack = classifier.tolerance * float(expected.abs().max())
    logits, latents = classifier.trace(any_model.x)
    torch.testing.assert_close(logits, expected, rtol=classifier.tolerance, atol=slack)
    for site, latent in latents.items():
        assert latent.dtype == torch.float32
        torch.testing.assert_close(classifier.resume(site, latent, any_model.x), logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(at_float32(model)(any_model.x), model(any_model.x.to(dtype)))


def test_training_mode_is_refused() -> None:
    """A model with any part in training mode is refused, and the part is named."""
    model = tiny_model("in-place")
    model.classifier[0].train()
    with pytest.raises(ModelError, match=r"InPlaceCNN is in training mode \(classifier\.0\).*Call model\.eval\(\)"):
        wrap(model, input_shape=(1, 12, 12), bounds=(-1.0, 1.0))
    with pytest.raises(ModelError, match="in training mode"):
        unwrapped(model.train())


def test_something_else_than_a_module_is_refused() -> None:
    """A state dict or a function is refused by its type."""
    with pytest.raises(ModelError, match=r"expected a torch\.nn\.Module, got OrderedDict"):
        wrap(tiny_model("plain").state_dict(), **PLAIN)


def test_compiled_and_parallel_modules_are_unwrapped(plain: Subject) -> None:
    """The module inside torch.compile, DataParallel or both is what gets wrapped."""
    with warnings.catch_warnings():  # importing the compiler warns about its own internals
        warnings.simplefilter("ignore")
        compiled = torch.compile(plain.model)
    for outer in (compiled, nn.DataParallel(plain.model), nn.DataParallel(compiled), plain.model):
        assert unwrapped(outer) is plain.model
    assert wrap(nn.DataParallel(plain.model), **PLAIN).fingerprint() == plain.classifier.fingerprint()


def test_compiled_and_parallel_parts_are_cut_as_written() -> None:
    """Parts inside ``torch.compile`` or ``DataParallel`` keep their names and their fingerprint."""
    as_written, model = subject("plain"), tiny_model("plain")
    with warnings.catch_warnings():  # importing the compiler warns about its own internals
        warnings.simplefilter("ignore")
        model.stage1 = torch.compile(model.stage1)
    model.stage2 = nn.DataParallel(model.stage2)
    wrapped = wrap(model.eval(), input_shape=(3, 16, 16), bounds=(0.0, 1.0))
    assert isinstance(wrapped, TorchClassifier)
    assert wrapped.sites == as_written.classifier.sites
    assert wrapped.fingerprint() == as_written.classifier.fingerprint()
    with torch.inference_mode():
        expected = as_written.model(as_written.x)
        torch.testing.assert_close(wrapped.logits(as_written.x), expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_is_wrapped_within_inference_mode_has_gradients() -> None:
    """What the wrapper makes is not of that mode, where the model is not."""
    model = tiny_model("plain")
    with torch.inference_mode():
        classifier = wrap(model, input_shape=TINY["plain"].shape, bounds=TINY["plain"].bounds)
    x = classifier.probe(2).clone().requires_grad_()
    (slope,) = torch.autograd.grad(classifier.logits(x).sum(), x)
    assert slope.abs().sum() > 0


def test_a_model_that_was_made_within_inference_mode_can_be_wrapped_there() -> None:
    """It has no gradients, but it judges."""
    with torch.inference_mode():
        classifier = wrap(tiny_model("plain"), input_shape=TINY["plain"].shape, bounds=TINY["plain"].bounds)
        assert classifier.logits(classifier.probe(2)).isfinite().all()
