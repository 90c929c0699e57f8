"""A model in segments: what is resumed skips what lies before."""

from __future__ import annotations

import pickle

import pytest
import torch
import torch.nn.functional as F
from support.models import PLAIN, TINY, Subject, subject, tiny_images, two_logits
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ce_detect.classifiers.base import INPUT
from ce_detect.classifiers.wrapping import wrap


@torch.inference_mode()
def test_resume_skips_the_prefix(cut_model: Subject) -> None:
    """Everything before a site could be broken: resuming from the site does not run it."""
    classifier = pickle.loads(pickle.dumps(cut_model.classifier))
    logits, latents = classifier.trace(cut_model.x)

    def broken(*_: object) -> None:
        raise AssertionError("the prefix ran")

    for segment, (site, latent) in zip(classifier.segments, latents.items(), strict=False):
        segment.register_forward_pre_hook(broken)
        torch.testing.assert_close(classifier.resume(site, latent, cut_model.x), logits)
    with pytest.raises(AssertionError, match="the prefix ran"):
        classifier.logits(cut_model.x)


@torch.inference_mode()
def test_resume_computes_less_the_later_it_starts(cut_model: Subject) -> None:
    """Floating-point operations fall from site to site; those before and after a site add up to a whole forward."""
    latents = cut_model.classifier.trace(cut_model.x).latents
    spent = []
    for site, latent in {INPUT: cut_model.x, **latents}.items():
        with FlopCounterMode(display=False) as counter:
            cut_model.classifier.resume(site, latent, cut_model.x)
        spent.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        cut_model.model(cut_model.x)
    assert spent[0] == counter.get_total_flops()
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[1] > 0
    assert spent[-1] < spent[0] / 2


def test_cut_classifier_survives_pickling(cut_model: Subject) -> None:
    """Worker processes get the classifier by pickle: the copy gives the same logits."""
    other = pickle.loads(pickle.dumps(cut_model.classifier))
    with torch.inference_mode():
        assert torch.equal(other.logits(cut_model.x), cut_model.classifier.logits(cut_model.x))


@pytest.mark.parametrize("size", [16, 12, 9])
@pytest.mark.parametrize("name", [name for name, tiny in TINY.items() if tiny.elastic])
@torch.inference_mode()
def test_elastic_means_equal_at_other_sizes(name: str, size: int) -> None:
    """A classifier that calls itself elastic gives what the bare model gives for inputs of another size."""
    part = subject(name)
    x = F.interpolate(part.x, size=(size, size))
    torch.testing.assert_close(part.classifier.logits(x), two_logits(part.model(x)), rtol=1e-4, atol=1e-4)


class SizeDivides(nn.Module):
    """Divides by the area of its input, which a trace turns into a number unless it keeps the area apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 3)``."""
        area = x.shape[2] * x.shape[3]
        return self.fc(F.relu(self.conv(x)).sum((2, 3)) * 4 / area)


@torch.inference_mode()
def test_trace_with_its_size_written_in_is_not_elastic() -> None:
    """A model whose graph would run at other sizes, but wrongly, is not called elastic."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SizeDivides().eval()
    classifier = wrap(model, **PLAIN)
    small = tiny_images("plain", 2)[..., :8, :8]
    same = torch.allclose(classifier.logits(small), model(small), atol=1e-5)
    assert classifier.elastic == same
