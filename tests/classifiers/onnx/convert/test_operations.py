"""Every operation of the table does what ONNX Runtime does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.onnx_nodes import CASES, Case, both, graph, seeded

from ce_detect.classifiers.onnx.convert.operations import OPERATIONS


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
