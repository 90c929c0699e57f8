"""An ONNX file as a classifier's graph: read, checked, and opened at both ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.inliner import inline_local_functions

from ce_detect.core.errors import ModelError

logger = logging.getLogger("ce_detect")

OLDEST_OPSET = 7
"""Oldest operator set that is read; before it operands broadcast in another way."""

FLOATS: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "float64"}
"""Types of pixels, by their number in a file."""

_COLOURS = (1, 3, 4)

_DYNAMIC = (
    "torch.onnx.export(model, (x,), path, dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)) leaves the "
    "batch size free"
)


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """The graph of a classifier.

    Attributes:
        name: of the file, for messages.
        proto: the model, its functions inlined and its weights in memory, from one input to one output of logits.
        input: name of the input.
        output: name of the output, logits.
        shape: of the input as the file gives it, None for what is free.
        dtype: name of the type of the input.
        opset: version of the operator set.
    """

    name: str
    proto: ModelProto
    input: str
    output: str
    shape: tuple[int | None, int | None, int | None, int | None]
    dtype: str
    opset: int

    @property
    def batch(self) -> int | None:
        """The one batch size that the file was exported for; None where it is free."""
        return self.shape[0]

    @property
    def channels_last(self) -> bool:
        """Whether its input is ``(batch, height, width, channels)``."""
        return self.shape[3] in _COLOURS and self.shape[1] not in _COLOURS

    def example_shapes(self) -> Iterator[tuple[int, int, int]]:
        """``(channels, height, width)`` of an input: what the file names, or likely sizes where they are free."""
        _, *sides = self.shape
        if self.channels_last:
            sides = [sides[2], *sides[:2]]
        for side in (64, 224, 32, 28, 8):
            for channels in (3, 1):
                yield sides[0] or channels, sides[1] or side, sides[2] or side


def read(path: str | Path) -> OnnxFile:
    """Read a classifier from an ONNX file.

    A softmax or sigmoid at the end is cut off, since effects are measured on logits.

    Raises:
        ModelError: not an ONNX file, weights that lie in another file which is missing, several inputs or outputs, an
            input that is not a batch of images of floating type, or an operator set that is too old.
    """
    path = Path(path)
    proto = inline_local_functions(_parsed(path))
    opset = _opset(proto, path)
    given, returned = _ends(proto, path)
    shape, dtype = _input_type(given, path)
    output = _without_probabilities(proto, returned, path)
    return OnnxFile(path.name, proto, given.name, output, shape, dtype, opset)


def _parsed(path: Path) -> ModelProto:
    if not path.is_file():
        raise ModelError(f"there is no ONNX file {str(path)!r}; check the path")
    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX file, or is truncated: {error}") from error
    if not proto.graph.node:
        raise ModelError(f"{path} is not an ONNX file, or has an empty graph")
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{path} keeps its weights in another file, which cannot be read: {reason}. Put that file beside it, or "
            "export with external_data=False"
        ) from error
    return proto


def _opset(proto: ModelProto, path: Path) -> int:
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{path} is of operator set {opset}, the oldest that is read is {OLDEST_OPSET}. Export it again, or "
            "convert it: onnx.version_converter.convert_version(onnx.load(path), 18)"
        )
    return opset


def _ends(proto: ModelProto, path: Path) -> tuple[ValueInfoProto, ValueInfoProto]:
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    for what, values in (("inputs", inputs), ("outputs", list(proto.graph.output))):
        if len(values) != 1:
            names = ", ".join(value.name for value in values) or "none"
            raise ModelError(
                f"{path} has {len(values)} {what} ({names}), expected one: pixels in, logits out. Cut the part that "
                "maps one to the other: onnx.utils.extract_model(path, new_path, [input_name], [logits_name])"
            )
    return inputs[0], proto.graph.output[0]


def _input_type(given: ValueInfoProto, path: Path) -> tuple[Any, str]:
    tensor = given.type.tensor_type
    if tensor.elem_type not in FLOATS:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(
            f"{path} takes {kind}, expected pixels of a floating type: attacks change them by fractions. Export the "
            "part behind the conversion to float"
        )
    sides = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim]
    if not tensor.HasField("shape"):
        sides = [None] * 4
    if len(sides) != 4:
        raise ModelError(f"{path} takes an input of {len(sides)} dimensions, expected (batch, channels, height, width)")
    if sides[0] is not None and sides[0] > 1:
        raise ModelError(f"{path} takes batches of {sides[0]} images only. Export it again: {_DYNAMIC}")
    return tuple(sides), FLOATS[tensor.elem_type]


def _without_probabilities(proto: ModelProto, returned: ValueInfoProto, path: Path) -> str:
    """Name of the logits; the graph ends there from now on."""
    last = next((node for node in proto.graph.node if returned.name in node.output), None)
    if last is None or last.op_type not in ("Softmax", "Sigmoid") or _used_elsewhere(proto, last):
        return returned.name
    logger.info("%s: the %s at its end is cut off, so that it returns logits", path.name, last.op_type.lower())
    logits = onnx.helper.make_tensor_value_info(last.input[0], returned.type.tensor_type.elem_type, None)
    proto.graph.node.remove(last)
    del proto.graph.output[:]
    proto.graph.output.append(logits)
    return logits.name


def _used_elsewhere(proto: ModelProto, last: NodeProto) -> bool:
    return any(last.output[0] in node.input for node in proto.graph.node)
