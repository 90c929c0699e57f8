"""What a query detector knows as a file, so that a restart forgets no trace: hashes and evidence, never an image."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ce_detect.core.errors import ArtifactError
from ce_detect.monitor.evidence import Evidence
from ce_detect.monitor.queries.detector import QueryDetector
from ce_detect.monitor.queries.index import MemoryIndex
from ce_detect.monitor.streams import Counts, Stream
from ce_detect.storage import atomic

_KEY = "ce_detect.queries"
_HASH = 8


class _State(Struct, frozen=True):
    """What is not a number."""

    values: int
    radius: float
    overall: Counts
    clients: list[Counts]
    labels: list[int]
    matched: list[bool]
    salt: str


def write(detector: QueryDetector, path: Path) -> None:
    """Keep what a detector knows, with its salt, for the owner alone; the old file stays until the new one is whole.

    Raises:
        OSError: the folder is not there or cannot be written, or the disk is full.
    """
    kept = list(detector.index.items()) if isinstance(detector.index, MemoryIndex) else []
    clients = list(detector.clients)
    state = _State(
        detector.sketcher.values, detector.settings.radius, detector.overall.counts("overall", ""),
        [stream.counts("client", name) for name, stream in clients],
        [label for (_, label), _, _ in kept], [matched for _, _, matched in kept],
        base64.b64encode(detector.sketcher.salt).decode(),
    )  # fmt: skip
    hashes = b"".join(whole + b"".join(keys) for (whole, _), keys, _ in kept)
    shape = (len(clients), *detector.client_bets.blank().shape)
    arrays: dict[str, NDArray[Any]] = {
        "hashes": np.frombuffer(hashes, np.uint8).reshape(len(kept), -1) if kept else np.zeros((0, 0), np.uint8),
        "overall": detector.overall.evidence.money,
        "overall_hits": detector.overall.hits,
        "money": np.stack([s.evidence.money for _, s in clients]) if clients else np.zeros(shape),
        "hits": np.stack([s.hits for _, s in clients]) if clients else np.zeros(shape[:2], np.int64),
    }
    atomic.write(path, save(arrays, metadata={_KEY: msgspec.json.encode(state).decode()}), mode=0o600)


def read(path: Path) -> tuple[bytes, Any] | None:
    """Salt of the detector that a file is of, and what `restore` takes; None where there is no file.

    Raises:
        ArtifactError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="numpy") as file:
            state = msgspec.json.decode((file.metadata() or {})[_KEY], type=_State)
            names = ("hashes", "overall", "overall_hits", "money", "hits")
            arrays = {name: file.get_tensor(name) for name in names}
        salt = base64.b64decode(state.salt, validate=True)
    except (SafetensorError, msgspec.MsgspecError, KeyError, OSError, ValueError) as error:
        raise ArtifactError(f"{path} is no state of a query detector ({error}); remove it to begin anew") from error
    rows, clients = len(state.labels), len(state.clients)
    if len(state.matched) != rows or len(arrays["hashes"]) != rows or len(arrays["money"]) != clients:
        raise ArtifactError(f"{path} is torn: its parts are of other sizes; remove it to begin anew")
    return salt, (state, arrays)


def restore(detector: QueryDetector, found: Any) -> bool:
    """Let a new detector with that salt go on.

    Returns:
        Whether it is one for the same inputs and bets; otherwise nothing is taken.
    """
    state, arrays = found
    same = state.values == detector.sketcher.values and state.radius == detector.settings.radius
    shapes = detector.client_bets.blank().shape == arrays["money"].shape[1:]
    if not same or not shapes or arrays["overall"].shape != detector.bets.blank().shape:
        return False
    limit = detector.overall.limit
    evidence = Evidence(detector.bets, arrays["overall"].copy(), state.overall.seen, state.overall.waiting)
    detector.overall = Stream.restored(evidence, limit, state.overall, arrays["overall_hits"])
    for counts, money, hits in zip(state.clients, arrays["money"], arrays["hits"], strict=True):
        evidence = Evidence(detector.client_bets, money.copy(), counts.seen, counts.waiting)
        detector.clients.put(counts.name, Stream.restored(evidence, limit, counts, hits))
    if isinstance(detector.index, MemoryIndex):
        for label, matched, row in zip(state.labels, state.matched, arrays["hashes"], strict=True):
            parts = [row[i : i + _HASH].tobytes() for i in range(0, len(row), _HASH)]
            detector.index.put((parts[0], label), tuple(parts[1:]), matched)
    return True
