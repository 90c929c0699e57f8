"""An ONNX file as bytes: whether it refers to other files, and one more entry of its metadata.

ONNX Runtime opens what a file refers to before anybody could ask, so this is looked at before. It is not parsed here:
a reader that takes one odd encoding otherwise than ONNX Runtime's can be led past a reference. A text in protocol
buffers lies in one piece behind its length (https://protobuf.dev/programming-guides/encoding), so the names by which
references are made are looked for in all of the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ce_detect.core.errors import ArtifactError

REFERENCES: Mapping[bytes, str] = MappingProxyType({b"location": "weights", b"EPContext": "compiled parts"})
"""What lies in another file by the text that says so: a key of ``external_data``, without which ONNX Runtime opens
none, and an operator of ONNX Runtime."""

METADATA = 14
"""Number of ``ModelProto.metadata_props``."""

_BYTES = 2  # wire type


def check_alone(content: bytes) -> None:
    """Refuse a file that refers to other files.

    Raises:
        ArtifactError: it does, or something in it has the very name by which that is done.
    """
    for text, kept in REFERENCES.items():
        ends = (len(text), 0)  # of its length: the last byte, which is 0 where a length is spelled longer than needed
        if any(content[found.start() - 1] in ends for found in re.finditer(text, content)):
            raise ArtifactError(
                f"it keeps {kept} in another file, which no gate does, for {text.decode()!r} stands in it; export it "
                "as one file, and call no tensor and no node so"
            )


def entry(key: str, value: str) -> bytes:
    """One more entry of the metadata, to be put behind a file."""
    inner = b"".join(_field(number, text.encode()) for number, text in ((1, key), (2, value)))
    return _field(METADATA, inner)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
