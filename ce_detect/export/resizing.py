"""A graph that resizes: images of any one size in, of which the rest of the graph sees the model's size.

ONNX Runtime's ``Resize`` with antialiasing follows Pillow's arithmetic, so the graph resizes as `scan` and `serve` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ce_detect.artifacts.graph_format import INPUT
from ce_detect.core.errors import ExportError, ModelError
from ce_detect.core.resizing import Resizing
from ce_detect.data.resizing import resized, waves
from ce_detect.export import parity

if TYPE_CHECKING:  # onnx comes with the extra ``onnx``
    from onnx import ModelProto, NodeProto

MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""Modes of ``Resize`` that smooth as Pillow's filters do, by the filter."""

OPSET = 20
"""Operator set of the graph by which the nodes are checked."""

SIZES = ((300, 457), (211, 90))
"""Heights and widths of the images on which they are."""

ROUNDING = 2
"""Grey levels by which the two may differ."""

_RESIZED = "resizing/resized"


def resizing_first(model: ModelProto, resizing: Resizing) -> ModelProto:
    """Let a graph that takes uint8 ``(batch, height, width, channels)`` take images of any one size, in place.

    Args:
        model: the graph.
        resizing: to the size that it takes.

    Raises:
        ModelError: an interpolation that ONNX has not.
    """
    if resizing.resize is not None and resizing.interpolation not in MODES:
        raise ModelError(
            f"a graph cannot resize by {resizing.interpolation!r}: ONNX has {', '.join(MODES)} alone. Export without "
            "any size, and resize images before they reach the graph, as ce-detect scan and serve do"
        )
    graph = model.graph
    for node in graph.node:
        node.input[:] = [_RESIZED if name == INPUT else name for name in node.input]
    nodes, constants = _prefix(resizing)
    (taken,) = (value for value in graph.input if value.name == INPUT)
    for place, name in ((1, "height"), (2, "width")):
        taken.type.tensor_type.shape.dim[place].dim_param = name
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    graph.initializer.extend(_tensor(name, value) for name, value in constants.items())
    return model


def check(resizing: Resizing, channels: int) -> None:
    """Hold the nodes that resize against Pillow.

    Raises:
        ExportError: ONNX Runtime resizes otherwise.
    """
    from onnx import TensorProto, helper

    shape: list[str | int | None] = ["batch", "height", "width", channels]
    taken = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)
    given = helper.make_tensor_value_info("copy", TensorProto.UINT8, None)
    graph = helper.make_graph([helper.make_node("Identity", [INPUT], ["copy"])], "resizing", [taken], [given])
    opset = [helper.make_opsetid("", OPSET)]
    alone = parity.session(
        resizing_first(helper.make_model(graph, opset_imports=opset, ir_version=10), resizing).SerializeToString()
    )
    least = max(resizing.cut or (1, 1)) if resizing.resize is None else 1
    for height, width in SIZES:
        image = waves(max(height, least), max(width, least), channels)
        found = alone.run(None, {INPUT: image[None]})[0][0].astype(int)
        difference = np.abs(found - resized(image, resizing, "the image")).max()
        if difference > ROUNDING:
            raise ExportError(
                f"ONNX Runtime resizes otherwise than Pillow, by up to {difference}/255, so nothing was "
                "written. Export without any size, and resize images before they reach the graph, as scan and serve do"
            )


def _prefix(resizing: Resizing) -> tuple[list[NodeProto], dict[str, Any]]:
    """Nodes from the input to the resized images, and the constants that they read."""
    from onnx import TensorProto, helper

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(kind, [_name(one) for one in inputs], [_name(output)], _name(output), **attributes)

    constants: dict[str, Any] = {"half": [2.0], "sides": [1, 2]}
    nodes = [node("Shape", ["input"], "size", start=1, end=3)]
    image, size = "input", "size"
    if resizing.resize is not None:
        size = "target"
        if isinstance(resizing.resize, int):
            constants["shorter"] = [resizing.resize]
            nodes += [
                node("ReduceMin", ["size"], "least", keepdims=1),
                node("Mul", ["size", "shorter"], "scaled"),
                node("Div", ["scaled", "least"], size),  # of integers: rounded down
            ]
        else:
            constants[size] = list(resizing.resize)
        smoothed = {"antialias": 1, "exclude_outside": 1, "cubic_coeff_a": -0.5}
        mode = MODES[resizing.interpolation]
        nodes.append(node("Resize", ["input", "", "", size], "whole", mode=mode, axes=[1, 2], **smoothed))
        image = "whole"
    if resizing.cut is not None:
        constants["cut"] = list(resizing.cut)
        nodes += [
            node("Sub", [size, "cut"], "left"),
            node("Cast", ["left"], "left float", to=TensorProto.FLOAT),
            node("Div", ["left float", "half"], "middle"),
            node("Round", ["middle"], "rounded"),  # half to even, as Python rounds
            node("Cast", ["rounded"], "start", to=TensorProto.INT64),
            node("Add", ["start", "cut"], "end"),
            node("Slice", [image, "start", "end", "sides"], "cropped"),
        ]
        image = "cropped"
    nodes.append(helper.make_node("Identity", [_name(image)], [_RESIZED], _RESIZED))
    read = {name for one in nodes for name in one.input}
    return nodes, {_name(name): value for name, value in constants.items() if _name(name) in read}


def _name(part: str) -> str:
    return part if part in {INPUT, ""} else f"resizing/{part}"


def _tensor(name: str, value: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value, np.float32 if isinstance(value[0], float) else np.int64), name)
