"""An ONNX graph as a PyTorch module, for any batch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from support.onnx_nodes import both, graph, opened, seeded

from ce_detect.classifiers.onnx.convert.module import OnnxModule


def shape_arithmetic() -> onnx.ModelProto:
    """A class token spread over the batch, positions by a range, and sizes computed on the way."""
    node = helper.make_node

    def number(name: str, *values: int) -> onnx.NodeProto:
        return node("Constant", [], [name], value=numpy_helper.from_array(np.array(values)))

    nodes = [
        number("zero", 0), number("one", 1), number("two", 2), number("three", 3), number("minus", -1), number("none"),
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "zero"], ["batch"]),
        node("Slice", ["shape", "two", "three"], ["height"]), node("Div", ["height", "two"], ["half"]),
        node("Mul", ["half", "two"], ["even"]), node("Mod", ["height", "two"], ["rest"]),
        node("Add", ["even", "rest"], ["h"]),
        node("Size", ["shape"], ["rank"]), node("Unsqueeze", ["rank", "zero"], ["ranks"]),
        node("Sub", ["ranks", "one"], ["r"]),
        node("Concat", ["batch", "r", "minus"], ["wanted"], axis=0), node("Reshape", ["x", "wanted"], ["tokens"]),
        node("ConstantOfShape", ["r"], ["ones"], value=numpy_helper.from_array(np.array([1]))),
        node("Concat", ["batch", "minus", "minus"], ["free"], axis=0), node("Equal", ["free", "minus"], ["unknown"]),
        node("Where", ["unknown", "ones", "free"], ["spread"]), node("Expand", ["token", "spread"], ["every"]),
        node("Concat", ["every", "tokens"], ["both"], axis=1),
        node("Squeeze", ["zero", "zero"], ["start"]), node("Squeeze", ["one", "zero"], ["step"]),
        node("Squeeze", ["two", "zero"], ["stop"]), node("Range", ["start", "stop", "step"], ["places"]),
        node("Gather", ["both", "places"], ["some"], axis=1), node("Flatten", ["some"], ["logits"]),
    ]  # fmt: skip
    return graph(nodes, [numpy_helper.from_array(seeded(1, 1, 16), "token")], ("batch", 3, 4, 4))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_sizes_are_computed_for_any_batch(batch: int) -> None:
    """Shape arithmetic follows the input."""
    expected, got = both(shape_arithmetic(), torch.from_numpy(seeded(batch, 3, 4, 4)))
    assert got.shape == (batch, 32)
    torch.testing.assert_close(got, expected)


def test_a_captured_graph_keeps_its_batch_free() -> None:
    """torch.export sees sizes and not tensors, so that the exported program takes other batches."""
    module = OnnxModule(opened(shape_arithmetic()))
    x = torch.from_numpy(seeded(7, 3, 4, 4))
    program = torch.export.export(module, (x[:3],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.testing.assert_close(program.module()(x), module(x))
