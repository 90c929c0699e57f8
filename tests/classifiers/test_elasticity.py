"""Graphs that run at other sizes than that of the example."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.awkward import CUT, WRAP, Forward, cnn, head

from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap


@pytest.mark.parametrize("name", ["pools by size", "pools by number", "shuffles"])
@torch.inference_mode()
def test_sizes_of_the_example_are_taken_out(name: str) -> None:
    """Smaller images give the logits of the same CNN that pools over whatever there is."""
    classifier = wrap(CUT[name](), **WRAP)
    assert isinstance(classifier, TorchClassifier)
    assert classifier.elastic
    if name.startswith("pools"):
        x = classifier.interface.probe(2, scale=0.75)
        torch.testing.assert_close(classifier.logits(x), cnn()(x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_pooling_of_parts_stays() -> None:
    """It is no mean over the map, so smaller images are refused."""
    classifier = wrap(Forward(lambda net, x: head(net, F.avg_pool2d(net[:8](x), 4)[:, :, :1, :1])), **WRAP)
    assert isinstance(classifier, TorchClassifier)
    x = classifier.probe(2)
    expected = head(cnn(), F.avg_pool2d(cnn()[:8](x), 4)[:, :, :1, :1])
    torch.testing.assert_close(classifier.logits(x), expected, rtol=1e-4, atol=1e-4)
