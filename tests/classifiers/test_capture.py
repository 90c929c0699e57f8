"""A model as a graph of tensor operations, for any batch size."""

from __future__ import annotations

import pytest
import torch
from support.digits import DigitCNN, seeded
from support.models import Subject, subject
from torch import Tensor

from ce_detect.classifiers.capture import capture
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.wrapping import wrap

DIGIT = {"input_shape": (1, 8, 8), "bounds": (0.0, 1.0)}


class BatchInPython(DigitCNN):
    """Takes the batch size out of the tensor, which an export then writes down."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 10)``."""
        return super().forward(x).view(len(x), 10)


def test_a_model_that_fixes_the_batch_size_is_hooked(caplog: pytest.LogCaptureFixture) -> None:
    """A graph for two inputs only would fail on others; the log says what to change."""
    model = seeded(BatchInPython).eval()
    classifier = wrap(model, **DIGIT)
    assert isinstance(classifier, HookClassifier)
    assert "x.shape[0] instead of len(x)" in caplog.text
    x = torch.rand(7, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(classifier.logits(x), model(x))


@torch.inference_mode()
def test_a_captured_graph_is_the_model_for_any_batch(cut_model: Subject) -> None:
    """The graph of two inputs computes what the model computes for eight."""
    captured = capture(cut_model.model, cut_model.x[:2])
    torch.testing.assert_close(captured(cut_model.x), cut_model.model(cut_model.x), rtol=1e-4, atol=1e-4)


def test_weights_of_convolutions_are_channels_last_on_a_cpu() -> None:
    """That layout runs faster there; the model's own weights stay as they are."""
    part = subject("plain")
    laid_out = [weight for weight in part.classifier.segments.parameters() if weight.ndim == 4]
    assert len(laid_out) == 3
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in laid_out)
    assert all(weight.is_contiguous() for weight in part.model.parameters())
