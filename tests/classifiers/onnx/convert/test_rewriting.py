"""Graphs rewritten before they are run."""

from __future__ import annotations

import torch
from onnx import helper, numpy_helper
from support.onnx_nodes import both, graph, opened, seeded

from ce_detect.classifiers.onnx.convert.module import OnnxModule


def test_a_product_and_its_bias_become_one_linear_layer() -> None:
    """``MatMul`` and ``Add`` are how exporters write a linear layer over tokens."""
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["b", "p"], ["h"]), node("Flatten", ["h"], ["logits"])]
    weights = [numpy_helper.from_array(seeded(4, 5), "w"), numpy_helper.from_array(seeded(5), "b")]
    model = graph(nodes, weights, (None, 3, 3, 4))
    assert [n.kind for step in OnnxModule(opened(model))._steps for n in step.nodes] == ["Linear", "Flatten"]
    expected, got = both(model, torch.from_numpy(seeded(2, 3, 3, 4)))
    torch.testing.assert_close(got, expected)
