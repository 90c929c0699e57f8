"""The audit log: one JSON line a verdict, in files rotated by size."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ce_detect.core.errors import UsageError
from ce_detect.records.record import Job, Judged
from ce_detect.records.settings import AuditSettings
from ce_detect.verdict.result import GateResult

logger = logging.getLogger("ce_detect.serve")

_CLOSED = -1


class Line(msgspec.Struct, frozen=True):
    """One verdict; NaN is null.

    Attributes:
        time: when the request came, in seconds since 1970.
        id: of the request, as the client gave it.
        index: of the input in the request.
        label: that was answered.
        score: larger = more adversarial.
        p_value: see `GateResult`.
        probability: see `GateResult`.
        is_adversarial: the verdict.
        threshold: that it was held against.
        artifact: SHA-256 of the fused graph's file.
        client: who asked.
        model: name of the model in the protocol.
        policy: what was done to the label.
    """

    time: float
    id: str | None
    index: int
    label: int
    score: float
    p_value: float
    probability: float
    is_adversarial: bool
    threshold: float
    artifact: str
    client: str | None = None
    model: str | None = None
    policy: str | None = None


class AlarmLine(msgspec.Struct, frozen=True):
    """One alarm of the monitor.

    Attributes:
        time: seconds since 1970.
        alarm: see `ce_detect.monitor.Alarm.plain`.
        artifact: SHA-256 of the fused graph's file.
        model: name of the model in the protocol.
    """

    time: float
    alarm: dict[str, Any]
    artifact: str
    model: str | None


class AuditLog:
    """A file that lines are appended to, whole or not at all; for one thread.

    A full disk, or any other failure of the file, loses lines: they are counted, and the server goes on answering.

    Attributes:
        lost: lines that could not be written.

    Args:
        settings: of the log.
        model: name of the model, for the lines.
        policy: what is done to labels, for the lines.

    Raises:
        UsageError: the file cannot be opened.
    """

    def __init__(self, settings: AuditSettings, *, model: str | None = None, policy: str | None = None) -> None:
        self._model, self._policy = model, policy
        self._settings, self._path, self.lost, self._failing = settings, settings.path, 0, False
        self._file = _CLOSED
        try:
            self._open()
        except OSError as error:
            raise UsageError(f"audit log {self._path} cannot be opened: {error.strerror}; name another file") from error

    def write(self, judged: Judged, artifact: str) -> int:
        """Append the verdicts of a batch.

        Returns:
            How many lines were lost.
        """
        of = (artifact, self._model, self._policy)
        return self._kept([line for job, result in judged for line in _lines(job, result, *of)])

    def alarm(self, alarm: dict[str, Any], artifact: str) -> int:
        """Append an alarm; see `write`."""
        return self._kept([AlarmLine(time.time(), alarm, artifact, self._model)])

    def _kept(self, lines: Sequence[msgspec.Struct]) -> int:
        try:
            self._append(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        except OSError as error:
            self.lost += len(lines)
            if not self._failing:
                logger.warning("audit log %s cannot be written, verdicts go unlogged: %s", self._path, error.strerror)
            self._failing = True
            return len(lines)
        if self._failing:
            logger.warning("audit log %s is written again; %d lines were lost so far", self._path, self.lost)
        self._failing = False
        return 0

    def close(self) -> None:
        """Force what was written to the disk and close the file."""
        file, self._file = self._file, _CLOSED  # its number may be a client's connection the next moment
        if file == _CLOSED:
            return
        try:
            if self._regular:
                os.fsync(file)
        finally:
            os.close(file)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        found = os.fstat(self._file)
        self._regular, self._size = stat.S_ISREG(found.st_mode), found.st_size
        if self._regular and self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._cut(_whole(self._path))  # the process before died in the middle of a line

    def _append(self, content: bytes) -> None:
        if self._file == _CLOSED:
            self._open()
        if self._regular and self._size and self._size + len(content) > self._settings.most_bytes:
            self._rotate()
        done = 0
        try:
            while done < len(content):
                done += os.write(self._file, content[done:])
        except OSError:
            if done:
                self._cut(self._size)
            raise
        self._size += done
        if self._regular and self._settings.fsync == "batch":
            os.fsync(self._file)

    def _rotate(self) -> None:
        self.close()
        for age in range(self._settings.keep, 0, -1):
            younger = self._aged(age - 1)
            if younger.exists():
                younger.replace(self._aged(age))
        if not self._settings.keep:
            self._path.unlink()
        self._open()

    def _aged(self, age: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{age}") if age else self._path

    def _cut(self, size: int) -> None:
        """Leave no torn line behind."""
        if self._regular:
            os.ftruncate(self._file, size)
            self._size = size


def _whole(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    return path.read_bytes().rfind(b"\n") + 1


def _lines(job: Job, result: GateResult, artifact: str, model: str | None, policy: str | None) -> list[Line]:
    names = ("label", "score", "p_value", "probability", "is_adversarial")
    rows = zip(*(getattr(result, name).tolist() for name in names), strict=True)
    return [
        Line(
            job.received,
            job.id,
            index,
            label,
            score,
            p_value,
            probability,
            flagged,
            result.threshold,
            artifact,
            job.client,
            model,
            policy,
        )
        for index, (label, score, p_value, probability, flagged) in enumerate(rows)
    ]
