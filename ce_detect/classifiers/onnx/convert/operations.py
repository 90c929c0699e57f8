"""Every ONNX operation that can be converted, by its ``op_type``."""

from __future__ import annotations

from typing import Any

from ce_detect.classifiers.onnx.convert import arithmetic, layers, layout
from ce_detect.classifiers.onnx.convert.values import Node, Value

OPERATIONS = {**arithmetic.OPERATIONS, **layout.OPERATIONS, **layers.OPERATIONS}
"""Every operation that can be converted."""


def applied(node: Node, given: list[Any]) -> tuple[Value, ...]:
    """Run one operation."""
    while given and given[-1] is None:
        given = given[:-1]
    result = OPERATIONS[node.kind](node, *given)
    return result if isinstance(result, tuple) else (result,)
