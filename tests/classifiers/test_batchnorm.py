"""Batch norms folded into convolutions, and put in again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support.models import GREY, PLAIN, subject, tiny_images, tiny_model
from torch import Tensor, nn

from ce_detect.classifiers import batchnorm
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap


def test_batch_norms_are_folded() -> None:
    """No batch norm is left in a model whose batch norms all follow a convolution."""
    for name in ("plain", "residual"):
        model, classifier = subject(name).model, subject(name).classifier
        assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        targets = [str(node.target) for segment in classifier.segments for node in segment.graph.nodes]
        assert any("conv" in target for target in targets)
        assert not any("batch_norm" in target for target in targets)


def test_batch_norm_that_follows_no_convolution_is_kept() -> None:
    """A batch norm before the first convolution still does its work."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = nn.Sequential(nn.BatchNorm2d(3), tiny_model("plain"))
        nn.init.normal_(before[0].running_mean)
        nn.init.uniform_(before[0].running_var, 0.5, 2.0)
    model = before.eval()
    x, classifier = tiny_images("plain", 4), wrap(model, **PLAIN)
    assert isinstance(classifier, TorchClassifier)
    with torch.inference_mode():
        torch.testing.assert_close(classifier.logits(x), model(x), rtol=1e-4, atol=1e-4)


class SharedConvolution(nn.Module):
    """A convolution whose output is normalised and also used as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 3)``."""
        h = self.conv(x)
        return self.fc(F.relu(self.norm(h) + h).mean((2, 3)))


def test_convolution_with_two_users_is_not_folded() -> None:
    """Folding changes a convolution's output, so one that something else also reads stays as it is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SharedConvolution()
        nn.init.normal_(model.norm.running_mean)
        nn.init.uniform_(model.norm.running_var, 0.3, 3.0)
    model.eval()
    x, classifier = tiny_images("one-logit", 4), wrap(model, **GREY)
    assert isinstance(classifier, TorchClassifier)
    with torch.inference_mode():
        torch.testing.assert_close(classifier.logits(x), model(x), rtol=1e-4, atol=1e-4)


def test_norms_change_nothing_until_something_is_learned() -> None:
    """In eval mode, norms that were just put in give what was there, and so do the convolutions with them folded in."""
    part = subject("plain")
    layers = part.classifier.copied(part.classifier.sites[-1])
    with torch.no_grad():
        expected = layers(part.x)
        added = batchnorm.put_in(layers, lambda: layers(part.x))
        assert len(added) == 3
        assert all(norm.training for norm, *_ in added)
        for norm, *_ in added:
            norm.eval()
        torch.testing.assert_close(layers(part.x), expected, rtol=1e-4, atol=1e-4)
        batchnorm.folded(layers, added)
        torch.testing.assert_close(layers(part.x), expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in layers.modules())
