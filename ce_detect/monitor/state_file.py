"""State in a file, so that a restart forgets nothing: streams, and whatever else is known; data, never code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ce_detect.core.errors import ArtifactError
from ce_detect.monitor.evidence import Bets, Evidence
from ce_detect.monitor.streams import Counts, Stream
from ce_detect.storage import atomic

Named = tuple[str, str, Stream]
"""Scope, name and stream."""

Arrays = dict[str, NDArray[Any]]
_KEY = "ce_detect.state"
_AGAIN = "remove it to begin anew"
_S = TypeVar("_S", bound=Struct)


def write(path: Path, state: Struct, arrays: Arrays) -> None:
    """Keep a state, for the owner alone; the old file stays until the new one is whole.

    Raises:
        OSError: the folder is not there or cannot be written, or the disk is full.
    """
    atomic.write(path, save(arrays, metadata={_KEY: msgspec.json.encode(state).decode()}), mode=0o600)


def read(path: Path, kind: type[_S]) -> tuple[_S, Arrays] | None:
    """What `write` kept; None where there is no file.

    Raises:
        ArtifactError: the file is damaged, or of another kind.
    """
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="numpy") as file:
            state = msgspec.json.decode((file.metadata() or {})[_KEY], type=kind)
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, msgspec.MsgspecError, KeyError, OSError) as error:
        raise ArtifactError(f"{path} is no state of this kind ({error}); {_AGAIN}") from error


def columns(streams: Iterable[Named]) -> tuple[list[Counts], Arrays]:
    """Counts of streams, and the arrays of each scope."""
    kept = list(streams)
    arrays = {}
    for scope in dict.fromkeys(scope for scope, *_ in kept):
        of_scope = [stream for found, _, stream in kept if found == scope]
        arrays[f"{scope} money"] = np.stack([stream.evidence.money for stream in of_scope])
        arrays[f"{scope} hits"] = np.stack([stream.hits for stream in of_scope])
    return [stream.counts(scope, name) for scope, name, stream in kept], arrays


def streams(
    path: Path, counts: list[Counts], arrays: Arrays, bets: Callable[[str, str], Bets | None], limit: float
) -> Iterator[Named]:
    """Streams that `columns` told of.

    Args:
        path: of the file.
        counts: of all.
        arrays: of all.
        bets: of a scope and a name; a stream without is left out.
        limit: evidence that is an alarm.

    Raises:
        ArtifactError: sizes that do not fit, numbers that no stream has.
    """
    for scope in dict.fromkeys(one.scope for one in counts):
        found = [(one, bets(scope, one.name)) for one in counts if one.scope == scope]
        known = next((stakes for _, stakes in found if stakes is not None), None)
        if known is None:
            continue
        money = checked(path, arrays, f"{scope} money", (len(found), *known.blank().shape))
        hits = checked(path, arrays, f"{scope} hits", (len(found), len(known.rates)))
        for (one, stakes), worth, seen in zip(found, money, hits, strict=True):
            if stakes is not None:
                evidence = Evidence(stakes, worth.copy(), one.seen, one.waiting)
                yield scope, one.name, Stream.restored(evidence, limit, one, seen)


def checked(path: Path, arrays: Arrays, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of a file.

    Raises:
        ArtifactError: it is not there, or has another shape or impossible values.
    """
    found = arrays.get(name, np.zeros(0))
    if found.shape != shape or not np.isfinite(found).all() or (found < 0).any():
        raise ArtifactError(
            f"{path}: {name!r} has shape {found.shape} or impossible values, expected {shape}; {_AGAIN}"
        )
    return found
