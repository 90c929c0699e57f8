"""Image files in a request: a tensor of type BYTES, whose elements are whole files."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from ce_detect.serve.errors import RequestError

FILES = "BYTES"
"""Their element type in the Open Inference Protocol."""

_LENGTH = 4  # bytes before each element that say how long it is, little-endian
_TEXTS = msgspec.json.Decoder(list[str])


def behind_header(count: int, size: Any, body: bytes, offset: int) -> tuple[bytes, ...]:
    """Files of a binary tensor: each behind its length.

    Args:
        count: how many.
        size: ``binary_data_size`` of the tensor.
        body: of the request.
        offset: where the tensor begins.

    Raises:
        RequestError: they do not fill the tensor.
    """
    found, place = [], offset
    if type(size) is not int or size < 0 or offset + size > len(body):
        raise RequestError(
            f"binary_data_size is {str(size)[:40]}, but {len(body) - offset} bytes are behind the header"
        )
    for number in range(count):
        start = place + _LENGTH
        place = start + int.from_bytes(body[place:start], "little")
        if place > offset + size or start == place:
            raise RequestError(f"file {number} of {count} is empty or ends behind the tensor's {size} bytes")
        found.append(body[start:place])
    if place != offset + size:
        raise RequestError(f"{offset + size - place} bytes of the tensor belong to none of its {count} files")
    return tuple(found)


def from_json(count: int, data: msgspec.Raw) -> tuple[bytes, ...]:
    """Files of a tensor in JSON: a flat list of texts in base64.

    Raises:
        RequestError: it is not, or has another length than the shape says.
    """
    try:
        texts = _TEXTS.decode(data)
        found = tuple(base64.b64decode(text, validate=True) for text in texts)
    except (msgspec.MsgspecError, UnicodeError, binascii.Error, ValueError) as problem:
        raise RequestError(f"the data of a {FILES} tensor are not files in base64: {problem}") from None
    if len(found) != count or not all(found):
        raise RequestError(f"the data hold {len(found)} files, some of them empty or not {count} as the shape says")
    return found
