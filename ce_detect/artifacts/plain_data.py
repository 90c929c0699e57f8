"""JSON from a file that anybody may have made: bounded in depth, its numbers finite and of an ordinary size."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Self

import msgspec
from msgspec import Struct

from ce_detect.core.errors import ArtifactError

DEEPEST = 64
"""How many lists and objects may lie in each other."""

LARGEST = 2**63
"""Magnitude below which whole numbers stay, as every other program can read them."""

_PLACE = re.compile(r"`\$([^`]*)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_SHOWN = 60  # characters of a value in a message


def parsed(text: str) -> Any:
    """Read JSON.

    Raises:
        ArtifactError: it is none, or not what `check` lets through; says where.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ArtifactError(f"lists or objects lie in each other more than {DEEPEST} deep") from error
    except ValueError as error:  # no JSON, or a whole number of more digits than Python reads
        raise ArtifactError(f"{type(error).__name__}: {error}") from error
    check(found)
    return found


def check(value: Any) -> None:
    """Hold plain data to what JSON from any program can be.

    Raises:
        ArtifactError: too deep, or a number that is not finite or too large; says where.
    """
    rest: list[tuple[Any, str, int]] = [(value, "", 0)]
    while rest:
        one, place, depth = rest.pop()
        if depth > DEEPEST:
            raise ArtifactError(f"`${place[:_SHOWN]}` lies more than {DEEPEST} lists or objects deep")
        if isinstance(one, dict):
            rest += [(inner, f"{place}.{key}", depth + 1) for key, inner in one.items()]
        elif isinstance(one, list | tuple):
            rest += [(inner, f"{place}[{i}]", depth + 1) for i, inner in enumerate(one)]
        elif isinstance(one, float) and not math.isfinite(one):
            raise ArtifactError(f"`${place}` is {one}, expected a finite number")
        elif isinstance(one, int) and abs(one) >= LARGEST:
            raise ArtifactError(f"`${place}` has {one.bit_length()} bits, expected a whole number below 2^63")


def shown(message: str, plain: Any) -> str:
    """A message of msgspec about plain data, with the value that stands at the place it names."""
    found = _PLACE.search(message)
    if found is None:
        return message
    for key, place in _STEP.findall(found[1]):
        try:
            plain = plain[int(place)] if place else plain[key]
        except (KeyError, IndexError, TypeError):
            return message
    text = repr(plain)
    return f"{message}, which is {text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'}"


class Readable(Struct, frozen=True):
    """What can be read from plain data, checked field by field."""

    @classmethod
    def of(cls, plain: Any) -> Self:
        """Read from plain data; what is not known is left out.

        Raises:
            ArtifactError: a field is missing, of another type or out of its range; names it and what it is.
        """
        check(plain)
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise ArtifactError(shown(str(error), plain)) from error

    def plain(self) -> dict[str, Any]:
        """Plain data, as JSON gives it back.

        Raises:
            ValueError: a number that JSON does not have.
        """
        found: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(self), allow_nan=False))
        return found
