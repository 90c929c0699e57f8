"""An ONNX file as bytes: what it says of itself, and whether it reads other files, without the package ``onnx``.

The gate without torch has ONNX Runtime alone, which opens what a file refers to before anybody could ask. So the few
fields that matter are read here, as protocol buffers lay them out (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ce_detect.core.errors import ArtifactError

MESSAGES: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
        "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
        "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
        "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
        "NodeProto": {5: "AttributeProto"},
        "AttributeProto": {
            5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto", 22: "SparseTensorProto",
            23: "SparseTensorProto",
        },
        "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
        "TensorProto": {},
    }
)  # fmt: skip
"""Fields, by number, of each message that may hold a tensor."""

METADATA = 14
"""Number of ``ModelProto.metadata_props``."""

OUTSIDE = MappingProxyType({"TensorProto": (13, 14)})
"""Numbers of ``external_data`` and ``data_location``, by which a tensor lies elsewhere."""

OPERATOR = 4
"""Number of ``NodeProto.op_type``."""

_ELSEWHERE = b"EPContext"  # an operator of ONNX Runtime whose content may be another file

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def check_whole(content: bytes) -> dict[str, str]:
    """Read what a file says of itself, and see that nothing in it is another file's.

    Returns:
        The metadata.

    Raises:
        ArtifactError: it is no whole ONNX file, its metadata is no text, or it refers to other files.
    """
    metadata: dict[str, str] = {}
    rest = [("ModelProto", 0, len(content))]
    while rest:
        kind, start, end = rest.pop()
        inside, outside = MESSAGES[kind], OUTSIDE.get(kind, ())
        for number, wire, first, last in _fields(content, start, end):
            if number in outside and (wire == _BYTES or first):
                raise ArtifactError("it keeps weights in another file, which no gate does; export it as one file")
            if wire != _BYTES:
                continue
            if number in inside:
                rest.append((inside[number], first, last))
            elif kind == "NodeProto" and number == OPERATOR and content[first:last] == _ELSEWHERE:
                raise ArtifactError("it keeps compiled parts in another file, which no gate does; export it again")
            elif kind == "ModelProto" and number == METADATA:
                key, value = _entry(content, first, last)
                metadata[key] = value
    return metadata


def entry(key: str, value: str) -> bytes:
    """One more entry of the metadata, to be put behind a file."""
    inner = b"".join(
        _tag(number) + _varint(len(text)) + text for number, text in ((1, key.encode()), (2, value.encode()))
    )
    return _tag(METADATA) + _varint(len(inner)) + inner


def _entry(content: bytes, start: int, end: int) -> tuple[str, str]:
    found = {
        number: content[first:last] for number, wire, first, last in _fields(content, start, end) if wire == _BYTES
    }
    try:
        return found.get(1, b"").decode(), found.get(2, b"").decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(f"its metadata is no text ({error})") from error


def _fields(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and first and last place of each field of a message; of a number its value and nothing."""
    while at < end:
        tag, at = _read(content, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ArtifactError("it ends too early, or is no ONNX file")
        if wire == _VARINT:
            value, at = _read(content, at, end)
            yield number, wire, value, 0
            continue
        size, at = _read(content, at, end) if wire == _BYTES else ({_EIGHT: 8, _FOUR: 4}.get(wire, end), at)
        if size > end - at:
            raise ArtifactError("it ends too early, or is no ONNX file")
        yield number, wire, at, at + size
        at += size


def _read(content: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ArtifactError("it ends too early, or is no ONNX file")


def _tag(number: int) -> bytes:
    return _varint(number << 3 | _BYTES)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
