"""A black box becomes part of an exported graph."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from support.gates import black_box
from support.models import tiny_images
from support.onnx_files import tiny_file
from torch import Tensor, nn

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.onnx import placeholder
from ce_detect.classifiers.onnx.black_box import OnnxClassifier
from ce_detect.classifiers.onnx.session import outputs, session
from ce_detect.core.errors import ModelError


class Intervened(nn.Module):
    """Logits as they are, and after halving the tensor at two sites and the input."""

    def __init__(self, classifier: OnnxClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return four times logits ``(batch, classes)``."""
        first, last = self.classifier.sites[0], self.classifier.sites[-1]
        z, latents = self.classifier.trace(x, (first, last))
        others = (self.classifier.resume(site, latents.get(site, x) * 0.5, x) for site in (first, last, "input"))
        return z, *others


def exported(module: nn.Module, x: Tensor, opset: int) -> onnx.ModelProto:
    """A module as a graph for any batch, with nodes that stand for the classifier."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    free = ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=free, opset_version=opset, verbose=False)
    assert program is not None
    return program.model_proto


@pytest.mark.parametrize(("name", "opset"), [("plain", 20), ("plain", 18), ("transformer", 20)])
def test_the_exported_graph_has_the_classifier_in_it(name: str, opset: int, tmp_path: Path) -> None:
    """One graph for any batch gives the same logits and holds each weight once."""
    classifier = black_box(name, tmp_path)
    module = Intervened(classifier).eval()
    proto = classifier.filled(exported(module, tiny_images(name, 3), opset))
    x = tiny_images(name, 5)
    got = outputs(session(proto.SerializeToString(), "fused"), x)
    for z, expected in zip(got, module(x), strict=True):
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4)
    assert all(node.domain != placeholder.DOMAIN for node in proto.graph.node)
    names = [tensor.name for tensor in proto.graph.initializer]
    assert len(names) == len(set(names))
    once = sum(len(tensor.raw_data) for tensor in classifier.model.file.proto.graph.initializer)
    assert sum(len(tensor.raw_data) for tensor in proto.graph.initializer) < 1.5 * once


def test_an_operator_set_that_cannot_be_reached_is_refused(tmp_path: Path) -> None:
    """There is no Gelu before operator set 20."""
    classifier = black_box("transformer", tmp_path)
    proto = exported(Intervened(classifier).eval(), tiny_images("transformer", 3), 18)
    with pytest.raises(ModelError, match=r"is of operator set 20 and cannot be brought to 18.*opset_version=18"):
        classifier.filled(proto)


def test_a_graph_for_one_image_is_refused() -> None:
    """A gate takes any batch."""
    file = replace(onnx_models.read(tiny_file("plain")), shape=(1, 3, 16, 16))
    with pytest.raises(ModelError, match="exported for batches of 1 and cannot become part of a gate for any batch"):
        placeholder.filled(onnx.ModelProto(), file, lambda sites, after: file.proto)
