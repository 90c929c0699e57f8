"""Open Inference Protocol v2, from bytes to arrays and back; pure functions.

Requests and answers are JSON, or a JSON header of ``Inference-Header-Content-Length`` bytes with the tensors behind it
(the binary tensor data extension: little-endian, row-major, in the order of the header). In JSON a tensor is one flat
list or nested like its shape, and NaN is ``null``. Inputs may also be image files: a tensor of type BYTES, in base64 in
JSON, or a body that is one file, with its content type. Every malformed request is a `RequestError`, and nothing else
is raised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ce_detect.artifacts.graph_format import DTYPES, INPUT, OUTPUT_TYPES, OUTPUTS, THRESHOLD
from ce_detect.serve.errors import RequestError
from ce_detect.serve.files import FILES, behind_header, from_json
from ce_detect.verdict.result import GateResult

_ELSEWHERE = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "classification")
"""Parameters of extensions that are not offered here and change what a request means."""

_Grey = Annotated[int, Meta(ge=0, le=255)]
_FLAT = {"FP32": msgspec.json.Decoder(list[float]), "UINT8": msgspec.json.Decoder(list[_Grey])}
_NESTED = {
    "FP32": msgspec.json.Decoder(list[list[list[list[float]]]]),
    "UINT8": msgspec.json.Decoder(list[list[list[list[_Grey]]]]),
}


@dataclass(frozen=True, slots=True)
class Contract:
    """What requests to one artifact must look like.

    Attributes:
        datatype: ``"FP32"`` or ``"UINT8"`` of the pixels.
        shape: of one input.
        classes: number of logits.
        most_inputs: in one request.
        most_json: bytes of JSON in one request; the binary form has no such limit.
        allow_threshold: whether a request may bring its own threshold.
    """

    datatype: str
    shape: tuple[int, ...]
    classes: int
    most_inputs: int
    most_json: int = 1 << 23
    allow_threshold: bool = False


@dataclass(frozen=True, slots=True)
class Inference:
    """A request, understood.

    Attributes:
        x: ``(n, …)``, a view of the body where it came in binary; or image files that are to be read.
        threshold: the client's own, None = the calibrated one.
        id: what the answer repeats.
        outputs: names that are asked for, and whether in binary.
    """

    x: NDArray[Any] | tuple[bytes, ...]
    threshold: float | None
    id: str | None
    outputs: tuple[tuple[str, bool], ...]


_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Parameters = dict[str, bool | _Int64 | float | str]


class _Tensor(msgspec.Struct):
    name: str
    shape: Annotated[list[_Int64], Meta(max_length=8)]
    datatype: str
    parameters: _Parameters = {}
    data: msgspec.Raw = msgspec.Raw()


class _Output(msgspec.Struct):
    name: str
    parameters: _Parameters = {}


class _Request(msgspec.Struct):
    inputs: Annotated[list[_Tensor], Meta(max_length=8)]
    id: Annotated[str, Meta(max_length=256)] | None = None
    parameters: _Parameters = {}
    outputs: Annotated[list[_Output], Meta(max_length=len(OUTPUTS))] | None = None


_REQUEST = msgspec.json.Decoder(_Request)


def parse(body: bytes, contract: Contract, *, header_length: str | None = None) -> Inference:
    """Understand a request.

    Args:
        body: all of it.
        contract: what it must look like.
        header_length: value of ``Inference-Header-Content-Length``, None where the header is absent.

    Raises:
        RequestError: it cannot be understood, or asks for what is not offered.
    """
    split = len(body) if header_length is None else _header_length(header_length, len(body))
    if split > contract.most_json:
        raise RequestError(f"{split} bytes of JSON, at most {contract.most_json}; send tensors in binary", status=413)
    request = _decoded(_REQUEST, memoryview(body)[:split], "the request")
    _refuse_elsewhere(request.parameters, *(part.parameters for part in (*request.inputs, *(request.outputs or ()))))
    arrays, threshold = _tensors(request.inputs, body, split, contract), None
    if INPUT not in arrays:
        raise RequestError(f"no tensor {INPUT!r} among the inputs {sorted(arrays)}")
    if THRESHOLD in arrays:
        threshold = float(np.asarray(arrays[THRESHOLD]).item())
        if math.isnan(threshold):
            raise RequestError(f"{THRESHOLD!r} is NaN, expected a number")
    return Inference(arrays[INPUT], threshold, request.id, _asked(request))


def image(body: bytes) -> Inference:
    """Understand a request whose body is one image file: all outputs, in JSON."""
    return Inference((body,), None, None, tuple((name, False) for name in OUTPUTS))


def render(inference: Inference, result: GateResult, *, model: str, version: str) -> tuple[bytes, int | None]:
    """Return an answer's body, and the length of its JSON header where tensors follow in binary."""
    outputs, tensors = [], []
    for name, binary in inference.outputs:
        datatype = OUTPUT_TYPES[name]
        array = np.ascontiguousarray(getattr(result, name), dtype=DTYPES[datatype])
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if binary:
            output["parameters"] = {"binary_data_size": array.nbytes}
            tensors.append(array.data)
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    answer = {"model_name": model, "model_version": version, "outputs": outputs}
    if inference.id is not None:
        answer["id"] = inference.id
    head = msgspec.json.encode(answer)
    return (b"".join((head, *tensors)), len(head)) if tensors else (head, None)


def error(message: str) -> bytes:
    """Return the body of a refusal."""
    return msgspec.json.encode({"error": message})


def metadata(contract: Contract, *, model: str, version: str) -> bytes:
    """Return the body that describes the model."""
    inputs = [{"name": INPUT, "datatype": contract.datatype, "shape": [-1, *contract.shape]}]
    if contract.allow_threshold:
        inputs.append({"name": THRESHOLD, "datatype": "FP32", "shape": [1]})
    outputs = [
        {"name": name, "datatype": datatype, "shape": [-1, contract.classes] if name == "logits" else [-1]}
        for name, datatype in OUTPUT_TYPES.items()
    ]
    described = {"name": model, "versions": [version], "platform": "onnxruntime_onnx"}
    return msgspec.json.encode({**described, "inputs": inputs, "outputs": outputs})


def _header_length(text: str, size: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= size):
        raise RequestError(f"Inference-Header-Content-Length is {text[:40]!r}, expected 1 to {size}, the body's length")
    return int(text)


def _decoded(decoder: msgspec.json.Decoder[Any], data: Any, what: str) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as problem:
        raise RequestError(f"{what} is not valid: {problem}") from None


def _refuse_elsewhere(*parameters: _Parameters) -> None:
    for name in _ELSEWHERE:
        if any(name in some for some in parameters):
            raise RequestError(f"parameter {name!r} is not offered here; send tensors in the request itself")


def _tensors(inputs: Sequence[_Tensor], body: bytes, offset: int, contract: Contract) -> dict[str, Any]:
    """The inputs by name; binary ones lie behind the header, one after the other, and fill the body."""
    arrays: dict[str, Any] = {}
    for tensor in inputs:
        if tensor.name in arrays:
            raise RequestError(f"input {tensor.name[:40]!r} comes twice")
        datatype = _check_tensor(tensor, contract)
        size = tensor.parameters.get("binary_data_size")
        if datatype == FILES and size is not None:
            arrays[tensor.name] = behind_header(tensor.shape[0], size, body, offset)
            offset += int(size)
        elif datatype == FILES:
            arrays[tensor.name] = from_json(tensor.shape[0], tensor.data)
        elif size is not None:
            arrays[tensor.name] = _binary(tensor, body, offset, datatype)
            offset += arrays[tensor.name].nbytes
        else:
            arrays[tensor.name] = _from_json(tensor, datatype)
    if offset != len(body):
        raise RequestError(f"{len(body) - offset} bytes at the end of the body belong to no tensor")
    return arrays


def _check_tensor(tensor: _Tensor, contract: Contract) -> str:
    """The type that a tensor must have, and has."""
    if tensor.name == THRESHOLD and not contract.allow_threshold:
        raise RequestError(f"this server does not let clients choose the {THRESHOLD!r}; leave it out")
    if tensor.name not in (INPUT, THRESHOLD):
        raise RequestError(f"unknown input {tensor.name[:40]!r}, expected {INPUT!r}")
    files = tensor.name == INPUT and tensor.datatype == FILES
    datatype = FILES if files else contract.datatype if tensor.name == INPUT else "FP32"
    if tensor.datatype != datatype:
        raise RequestError(f"{tensor.name!r} has datatype {tensor.datatype[:20]!r}, expected {datatype!r}")
    if tensor.name == THRESHOLD:
        if tensor.shape not in ([], [1]):
            raise RequestError(f"{THRESHOLD!r} has shape {tensor.shape}, expected [1]")
        return datatype
    shape = () if files else contract.shape
    pixels = ", ".join(["batch", *map(str, contract.shape)])
    expected = f"[files], or {contract.datatype!r} [{pixels}]" if files else f"[{pixels}]"
    if tuple(tensor.shape[1:]) != shape or not tensor.shape or tensor.shape[0] < 1:
        raise RequestError(f"{INPUT!r} has shape {tensor.shape}, expected {expected}")
    if tensor.shape[0] > contract.most_inputs:
        raise RequestError(
            f"{tensor.shape[0]} inputs in one request, at most {contract.most_inputs}; send several requests",
            status=413,
        )
    return datatype


def _binary(tensor: _Tensor, body: bytes, offset: int, datatype: str) -> NDArray[Any]:
    count, size = math.prod(tensor.shape), tensor.parameters["binary_data_size"]
    kind = DTYPES[datatype]
    if type(size) is not int or size != count * kind.itemsize:
        raise RequestError(
            f"{tensor.name!r} has binary_data_size {str(size)[:40]}, expected {count * kind.itemsize} for its shape"
        )
    if offset + size > len(body):
        raise RequestError(f"{tensor.name!r} needs {size} bytes behind the header, but {len(body) - offset} are there")
    if tensor.data:
        raise RequestError(f"{tensor.name!r} has data and binary_data_size, expected one of them")
    return np.frombuffer(body, kind, count, offset).reshape(tensor.shape)


def _from_json(tensor: _Tensor, datatype: str) -> NDArray[Any]:
    data, what = tensor.data, f"the data of {tensor.name!r}"
    if not data:
        raise RequestError(f"{tensor.name!r} has neither data nor binary_data_size")
    nested = len(tensor.shape) == 4 and bytes(memoryview(data)[:64]).translate(None, b" \t\r\n").startswith(b"[[")
    decoders: dict[str, Any] = _NESTED if nested else _FLAT
    values = _decoded(decoders[datatype], data, what)
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which the gate refuses
            array = np.asarray(values, dtype=DTYPES[datatype])
    except ValueError:
        raise RequestError(f"{what} is ragged, expected the shape {tensor.shape}") from None
    if array.size != math.prod(tensor.shape) or (nested and list(array.shape) != tensor.shape):
        raise RequestError(f"{what} has shape {list(array.shape)}, expected {tensor.shape}, flat or nested")
    return array.reshape(tensor.shape)


def _asked(request: _Request) -> tuple[tuple[str, bool], ...]:
    """The outputs asked for, all where none is named, and whether each in binary."""
    binary = _flag(request.parameters, "binary_data_output", False)
    if not request.outputs:
        return tuple((name, binary) for name in OUTPUTS)
    names = [output.name for output in request.outputs]
    for name in names:
        if name not in OUTPUTS:
            raise RequestError(f"unknown output {name[:40]!r}, expected some of {list(OUTPUTS)}")
    if len(set(names)) < len(names):
        raise RequestError(f"an output is asked for twice: {names}")
    return tuple((output.name, _flag(output.parameters, "binary_data", binary)) for output in request.outputs)


def _flag(parameters: _Parameters, name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"parameter {name!r} is {str(value)[:40]!r}, expected true or false")
    return value
