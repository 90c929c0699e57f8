"""Cuts of a captured graph, and the segments between them."""

from __future__ import annotations

import torch
from support.models import Subject, around, subject
from torch import nn

from ce_detect.classifiers.capture import capture
from ce_detect.classifiers.cutting import cuts, linear_head, segments


@torch.inference_mode()
def test_segments_one_after_the_other_are_the_graph(cut_model: Subject) -> None:
    """Cut wherever it can be, the graph still computes the same, each segment from one tensor of the stated shape."""
    captured = capture(cut_model.model, cut_model.x[:2])
    found = cuts(captured)
    assert len({cut.name for cut in found}) == len(found) >= 2
    *before, last = segments(captured, found)
    h = cut_model.x
    for cut, segment in zip(found, before, strict=True):
        h = segment(h)
        assert h.shape == (8, *cut.shape)
    torch.testing.assert_close(last(h), captured(cut_model.x))


@torch.inference_mode()
def test_the_last_layer_is_found_where_it_is_linear() -> None:
    """Its weight, and the node that feeds it; a model that ends in something else has none."""
    part = subject("plain")
    found = linear_head(capture(part.model, part.x[:2]))
    assert found is not None
    assert torch.equal(found[1], part.model.head.weight)
    assert linear_head(capture(around("plain", torch.relu), part.x[:2])) is None


@torch.inference_mode()
def test_a_bias_apart_from_the_last_layer_does_not_hide_it() -> None:
    """As ONNX files of Keras and TensorFlow have it; a second input is no bias."""
    part = subject("plain")

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.bias = part.model, nn.Parameter(torch.ones(part.model.head.out_features))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bias + self.model(x)

    found = linear_head(capture(Apart().eval(), part.x[:2]))
    assert found is not None
    assert torch.equal(found[1], part.model.head.weight)
    assert linear_head(capture(around("plain", lambda z: z + z.tanh()), part.x[:2])) is None
