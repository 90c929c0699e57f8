"""Operations and constants of an ONNX graph, as plain values."""

from __future__ import annotations

from typing import Any

import onnx

from ce_detect.classifiers.onnx.convert.operations import OPERATIONS
from ce_detect.classifiers.onnx.convert.values import Node, UnconvertibleError, Value, constant
from ce_detect.classifiers.onnx.file import OnnxFile


def nodes_of(file: OnnxFile) -> list[Node]:
    """Operations in the order of the graph.

    Raises:
        UnconvertibleError: one that is not in the table.
    """
    found = []
    for node in file.proto.graph.node:
        if node.op_type not in OPERATIONS or node.domain not in ("", "ai.onnx"):
            raise UnconvertibleError(f"the operator {node.op_type}")
        attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
        found.append(Node(node.op_type, tuple(node.input), tuple(node.output), attributes, file.opset))
    return found


def _plain(attribute: Any) -> Any:
    if isinstance(attribute, bytes):
        return attribute.decode()
    if isinstance(attribute, onnx.TensorProto):
        return onnx.numpy_helper.to_array(attribute)
    if isinstance(attribute, onnx.GraphProto | onnx.SparseTensorProto):
        raise UnconvertibleError("a graph or a sparse tensor inside a node")
    return attribute if isinstance(attribute, int | float | str) else list(attribute)


def constants_of(file: OnnxFile) -> dict[str, Value]:
    """Weights and other constants of the graph by name."""
    found = {}
    for tensor in file.proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind not in "fiub":
            raise UnconvertibleError(f"a constant of type {array.dtype}")
        found[tensor.name] = constant(array)
    return found
