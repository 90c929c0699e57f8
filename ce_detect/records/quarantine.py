"""The quarantine: flagged inputs, kept as files for later review."""

from __future__ import annotations

import io
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import UsageError
from ce_detect.records.record import Judged
from ce_detect.records.settings import QuarantineSettings
from ce_detect.storage import atomic

logger = logging.getLogger("ce_detect.serve")

_WAITING = 64
_LOOK_AGAIN = 10.0
"""Seconds between two looks at whether somebody made room in a full folder."""

Told = Callable[[str], None]
"""Called with ``"stored"``, ``"full"`` or ``"failed"``, once an input."""


@dataclass(frozen=True, slots=True)
class _Flagged:
    x: NDArray[Any]
    logits: NDArray[Any]
    score: float
    p_value: float
    id: str | None


class Quarantine:
    """A folder of ``.npz`` files, one a flagged input, written by a thread of its own: verdicts wait for no disk.

    Each holds ``x`` (one input, as it came), ``logits``, ``score``, ``p_value`` and ``id``; no file name comes from a
    client.

    Args:
        settings: folder and size.
        told: see `Told`.

    Raises:
        UsageError: the folder cannot be made or read.
    """

    def __init__(self, settings: QuarantineSettings, told: Told = lambda outcome: None) -> None:
        self._folder, self._most, self._told = settings.folder, settings.most_bytes, told
        self._numbers, self._looked = itertools.count(), time.monotonic()
        self._queue: queue.Queue[_Flagged | None] = queue.Queue(_WAITING)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._size = _size(self._folder)
        except OSError as error:
            raise UsageError(f"quarantine {self._folder} cannot be used: {error.strerror}; name another") from error
        self._thread = threading.Thread(target=self._work, name="ce-detect-quarantine", daemon=True)
        self._thread.start()

    def keep(self, judged: Judged) -> None:
        """Hand over the flagged inputs of a batch; those that find no room are told as ``"full"``."""
        for job, result in judged:
            for i in np.flatnonzero(result.is_adversarial):
                # copies: the input is a view of a request's body, which would be kept alive
                score, p_value = float(result.score[i]), float(result.p_value[i])
                self._hand_over(_Flagged(job.x[i].copy(), result.logits[i].copy(), score, p_value, job.id))

    def close(self) -> None:
        """Write what was handed over, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _hand_over(self, flagged: _Flagged) -> None:
        try:
            self._queue.put_nowait(flagged)
        except queue.Full:
            self._told("full")

    def _work(self) -> None:
        while (flagged := self._queue.get()) is not None:
            try:
                outcome = self._stored(_file(flagged))
            except OSError as error:
                logger.warning("quarantine %s cannot be written: %s", self._folder, error.strerror)
                outcome = "failed"
            self._told(outcome)

    def _stored(self, content: bytes) -> str:
        if not self._has_room(len(content)):
            return "full"
        atomic.write(self._folder / f"{time.time_ns()}-{next(self._numbers)}.npz", content)
        self._size += len(content)
        return "stored"

    def _has_room(self, size: int) -> bool:
        if self._size + size > self._most and time.monotonic() - self._looked > _LOOK_AGAIN:
            self._size, self._looked = _size(self._folder), time.monotonic()
        return self._size + size <= self._most


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _file(flagged: _Flagged) -> bytes:
    file = io.BytesIO()
    np.savez(
        file,
        x=flagged.x,
        logits=flagged.logits,
        score=np.float32(flagged.score),
        p_value=np.float32(flagged.p_value),
        id=np.array(flagged.id or ""),
    )
    return file.getvalue()
