"""Every operation of the table does what ONNX Runtime does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.onnx_nodes import CASES, Case, graph, seeded

from ce_detect.classifiers.onnx.convert.module import OPERATIONS, OnnxModule
from ce_detect.classifiers.onnx.file import OnnxFile
from ce_detect.classifiers.onnx.session import outputs, session


def opened(model: onnx.ModelProto) -> OnnxFile:
    """A graph of any rank as the converter wants it."""
    (given,) = model.graph.input
    dims = [d.dim_value or None for d in given.type.tensor_type.shape.dim]
    shape = (None, *dims[1:], *[None] * (4 - len(dims)))
    return OnnxFile(
        "test.onnx", model, "x", model.graph.output[0].name, shape, "float32", model.opset_import[0].version
    )


def both(model: onnx.ModelProto, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What ONNX Runtime makes of an input, and what the converted graph makes of it."""
    (expected,) = outputs(session(model.SerializeToString(), "test.onnx"), x)
    with torch.no_grad():
        return expected, OnnxModule(opened(model))(x)


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case.name}" for i, case in enumerate(CASES)])
def test_an_operation_agrees_with_onnx_runtime(case: Case) -> None:
    """The same input gives the same numbers, in the same shape."""
    x = torch.from_numpy(seeded(*case.shape, seed=9))
    expected, got = both(case.model(), x.abs() + 0.1 if case.positive else x)
    torch.testing.assert_close(got.float(), expected.float(), rtol=1e-4, atol=1e-5)


def test_every_operation_is_tested() -> None:
    """What is in no case of its own is part of a chain below."""
    chained = {
        "And", "Constant", "ConstantOfShape", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Linear",
        "Mod", "Not", "Or", "Range", "Shape", "Size", "Where",
    }  # fmt: skip
    assert set(OPERATIONS) == {case.kind for case in CASES} | chained


def test_conditions_choose_between_values() -> None:
    """Comparisons and logic on pixels, and a choice by them."""
    node, zero = helper.make_node, numpy_helper.from_array(np.array(0.0, np.float32), "zero")
    nodes = [
        node("Greater", ["x", "zero"], ["a"]), node("LessOrEqual", ["x", "zero"], ["b"]),
        node("GreaterOrEqual", ["x", "zero"], ["c"]), node("Less", ["x", "zero"], ["d"]),
        node("Or", ["a", "b"], ["e"]), node("And", ["e", "c"], ["f"]), node("Not", ["d"], ["g"]),
        node("Equal", ["f", "g"], ["h"]), node("And", ["h", "a"], ["i"]), node("Where", ["i", "x", "zero"], ["kept"]),
        node("Cast", ["a"], ["number"], to=TensorProto.FLOAT), node("Mul", ["kept", "number"], ["chosen"]),
        node("Flatten", ["chosen"], ["logits"]),
    ]  # fmt: skip
    x = torch.from_numpy(seeded(2, 3, 4, 4))
    expected, got = both(graph(nodes, [zero], (None, 3, 4, 4)), x)
    torch.testing.assert_close(got, expected)
    assert got.min() == 0


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


def test_a_product_and_its_bias_become_one_linear_layer() -> None:
    """``MatMul`` and ``Add`` are how exporters write a linear layer over tokens."""
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["b", "p"], ["h"]), node("Flatten", ["h"], ["logits"])]
    weights = [numpy_helper.from_array(seeded(4, 5), "w"), numpy_helper.from_array(seeded(5), "b")]
    model = graph(nodes, weights, (None, 3, 3, 4))
    assert [n.kind for step in OnnxModule(opened(model))._steps for n in step.nodes] == ["Linear", "Flatten"]
    expected, got = both(model, torch.from_numpy(seeded(2, 3, 3, 4)))
    torch.testing.assert_close(got, expected)
