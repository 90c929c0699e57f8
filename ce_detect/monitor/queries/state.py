"""What a query detector knows, as a file: hashes and evidence, never an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import Struct

from ce_detect.core.errors import ArtifactError
from ce_detect.monitor import state_file
from ce_detect.monitor.queries.detector import QueryDetector
from ce_detect.monitor.queries.index import MemoryIndex
from ce_detect.monitor.queries.sketch import KEYS
from ce_detect.monitor.state_file import Arrays
from ce_detect.monitor.streams import Counts

_HASH = 8

_VERSION = 2
"""Of what hashes are made from; those of another one say nothing about inputs to come."""


class _State(Struct, frozen=True):
    """What is no array."""

    values: int
    radius: float
    rates: list[float]
    streams: list[Counts]
    labels: list[int]
    matched: list[bool]
    salt: bytes
    version: int = 1


class Found(Struct, frozen=True):
    """What a file holds.

    Attributes:
        path: of the file.
        state: what is no array.
        arrays: the others.
    """

    path: Path
    state: _State
    arrays: Arrays

    @property
    def salt(self) -> bytes:
        """Of the detector that it is of."""
        return self.state.salt


def write(detector: QueryDetector, path: Path) -> None:
    """Keep what a detector knows, with its salt, see `ce_detect.monitor.state_file.write`."""
    kept = list(detector.index.items()) if isinstance(detector.index, MemoryIndex) else []
    clients = [("client", name, stream) for name, stream in detector.clients]
    counts, arrays = state_file.columns([("overall", "", detector.overall), *clients])
    state = _State(
        detector.sketcher.values, detector.settings.radius, detector.client_bets.rates.tolist(), counts,
        [label for (_, label), _, _ in kept], [matched for _, _, matched in kept], detector.sketcher.salt, _VERSION,
    )  # fmt: skip
    hashes = b"".join(whole + b"".join(keys) for (whole, _), keys, _ in kept)
    arrays["hashes"] = np.frombuffer(hashes, np.uint8).reshape(len(kept), KEYS + 1, _HASH)
    state_file.write(path, state, arrays)


def read(path: Path) -> Found | None:
    """What `restore` takes; None where there is no file.

    Raises:
        ArtifactError: the file is damaged.
    """
    found = state_file.read(path, _State)
    return None if found is None else Found(path, *found)


def restore(detector: QueryDetector, found: Found) -> bool:
    """Let a new detector with that salt go on.

    Returns:
        Whether it is one for the same inputs and bets, of this version; otherwise nothing is taken.

    Raises:
        ArtifactError: the file is damaged.
    """
    path, state, arrays = found.path, found.state, found.arrays
    alike = (detector.sketcher.values, detector.settings.radius, detector.client_bets.rates.tolist())
    if state.version != _VERSION or (state.values, state.radius, state.rates) != alike:
        return False
    if len(state.matched) != len(state.labels):
        raise ArtifactError(f"{path} is torn: its parts are of other sizes; remove it to begin anew")
    rows = state_file.checked(path, arrays, "hashes", (len(state.labels), KEYS + 1, _HASH))
    bets = {"overall": detector.bets, "client": detector.client_bets}
    limit = detector.overall.limit
    for scope, name, stream in list(state_file.streams(path, state.streams, arrays, lambda s, _: bets.get(s), limit)):
        if scope == "overall":
            detector.overall = stream
        else:
            detector.clients.put(name, stream)
    if isinstance(detector.index, MemoryIndex):
        for label, matched, row in zip(state.labels, state.matched, rows, strict=True):
            whole, *keys = (part.tobytes() for part in row)
            detector.index.put((whole, label), tuple(keys), matched)
    return True
