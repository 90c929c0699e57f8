"""The quarantine: flagged inputs, and some drawn at random, kept as files for later review."""

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
class _Input:
    x: NDArray[Any]
    logits: NDArray[Any]
    label: int
    score: float
    p_value: float
    threshold: float
    flagged: bool
    drawn: bool
    id: str | None
    client: str | None
    time: float


class Quarantine:
    """A folder of ``.npz`` files, one an input, written by a thread of its own: verdicts wait for no disk.

    Flagged inputs are kept, and beside them a share of all inputs, drawn at random before anybody looks at a verdict:
    what people find clean among these is an unbiased sample of clean traffic, which flagged inputs never are. A file
    holds ``x`` (one input, as it came), ``logits``, ``label``, ``score``, ``p_value``, ``threshold``, ``flagged``,
    ``drawn``, ``id``, ``client`` and ``time``; no file name comes from a client. `ce_detect.records.kept` reads them.

    Args:
        settings: folder and size.
        told: see `Told`.

    Raises:
        UsageError: the folder cannot be made or read.
    """

    def __init__(self, settings: QuarantineSettings, told: Told = lambda outcome: None) -> None:
        self._folder, self._most, self._told = settings.folder, settings.most_bytes, told
        self._sample, self._chance = settings.sample, np.random.default_rng()  # an attacker must not foresee it
        self._numbers, self._looked = itertools.count(), time.monotonic()
        self._queue: queue.Queue[_Input | None] = queue.Queue(_WAITING)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._size = _size(self._folder)
        except OSError as error:
            raise UsageError(f"quarantine {self._folder} cannot be used: {error.strerror}; name another") from error
        self._thread = threading.Thread(target=self._work, name="ce-detect-quarantine", daemon=True)
        self._thread.start()

    def keep(self, judged: Judged) -> None:
        """Hand over what is kept of a batch; inputs that find no room are told as ``"full"``."""
        for job, result in judged:
            flagged = np.asarray(result.is_adversarial, bool)
            drawn = self._chance.random(len(flagged)) < self._sample
            for i in np.flatnonzero(flagged | drawn):
                self._hand_over(
                    _Input(
                        job.x[i].copy(),  # the input is a view of a request's body, which would be kept alive
                        result.logits[i].copy(),
                        int(result.label[i] if result.label[i] >= 0 else result.logits[i].argmax()),  # or abstained
                        float(result.score[i]),
                        float(result.p_value[i]),
                        float(result.threshold),
                        bool(flagged[i]),
                        bool(drawn[i]),
                        job.id,
                        job.client,
                        job.received,
                    )
                )

    def close(self, seconds: float | None = None) -> bool:
        """Write what was handed over, and end the thread.

        Args:
            seconds: for that, as a disk may hang; None = for ever.

        Returns:
            Whether it ended.
        """
        until = None if seconds is None else time.monotonic() + seconds
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return False
        self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    def _hand_over(self, one: _Input) -> None:
        try:
            self._queue.put_nowait(one)
        except queue.Full:
            self._told("full")

    def _work(self) -> None:
        while (one := self._queue.get()) is not None:
            try:
                outcome = self._stored(_file(one))
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


def _file(one: _Input) -> bytes:
    file = io.BytesIO()
    np.savez(
        file,
        x=one.x,
        logits=one.logits,
        label=np.int64(one.label),
        score=np.float32(one.score),
        p_value=np.float32(one.p_value),
        threshold=np.float32(one.threshold),
        flagged=np.bool_(one.flagged),
        drawn=np.bool_(one.drawn),
        id=np.array(one.id or ""),
        client=np.array(one.client or ""),
        time=np.float64(one.time),
    )
    return file.getvalue()
