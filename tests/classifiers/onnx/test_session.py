"""Graphs run by ONNX Runtime: whole, with hidden tensors as outputs, or from one of them on."""

from __future__ import annotations

import pytest
import torch
from onnx import TensorProto
from support.models import tiny_images
from support.onnx_files import tiny_file

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.onnx import RuntimeModule
from ce_detect.classifiers.onnx.session import after, outputs, session, showing
from ce_detect.core.errors import ModelError


def test_a_graph_is_run_whole_and_in_two_parts() -> None:
    """A hidden tensor that the graph shows leads to the same logits."""
    file, x = onnx_models.read(tiny_file("plain")), tiny_images("plain", 3)
    hidden = next(node.output[0] for node in file.proto.graph.node if node.op_type == "Relu")
    shown = session(showing(file, {hidden: TensorProto.FLOAT}).SerializeToString(), file.name)
    z, h = outputs(shown, x)
    torch.testing.assert_close(z, RuntimeModule(file)(x))
    rest = session(after(file, hidden, TensorProto.FLOAT).SerializeToString(), file.name)
    (resumed,) = outputs(rest, h)
    torch.testing.assert_close(resumed, z)


def test_an_input_that_the_graph_does_not_take_is_refused() -> None:
    """The error names the shape."""
    with pytest.raises(ModelError, match=r"does not take an input of shape \(2, 5, 16, 16\)"):
        RuntimeModule(onnx_models.read(tiny_file("plain")))(torch.zeros(2, 5, 16, 16))
