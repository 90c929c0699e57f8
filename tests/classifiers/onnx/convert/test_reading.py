"""What is read of a graph, and what is left to ONNX Runtime."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper
from support.onnx_nodes import graph, opened

from ce_detect.classifiers.onnx.convert.reading import constants_of, nodes_of
from ce_detect.classifiers.onnx.convert.values import UnconvertibleError


def test_an_unknown_operator_is_not_converted() -> None:
    """The reason names it."""
    model = graph([helper.make_node("Nonsense", ["x"], ["logits"])], [], ("n", 3, 8, 8))
    with pytest.raises(UnconvertibleError, match="the operator Nonsense"):
        nodes_of(opened(model))


def test_constants_that_are_no_numbers_are_not_converted() -> None:
    """A table of words has no tensor."""
    words = helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"b"])
    model = graph([helper.make_node("Identity", ["x"], ["logits"])], [words], ("n", 3, 8, 8))
    with pytest.raises(UnconvertibleError, match="a constant of type"):
        constants_of(opened(model))
