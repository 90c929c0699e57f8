"""The monitor behind a server: verdicts and inputs in, alarms to metrics, logs, audit log and webhook.

It works in a thread of its own, from a bounded queue: answers do not wait for it, and what it cannot take is counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import UsageError
from ce_detect.monitor import Alarm, Monitor, MonitorSettings
from ce_detect.monitor import state as monitor_state
from ce_detect.monitor.queries import QueryDetector, QuerySettings, connected
from ce_detect.monitor.queries import state as queries_state
from ce_detect.monitor.webhook import Webhook
from ce_detect.records.record import Job, Judged
from ce_detect.serve.batching import joined
from ce_detect.serve.settings import WatchSettings
from ce_detect.verdict.result import GateResult

logger = logging.getLogger("ce_detect.serve")

SAVE_EVERY = 10.0
"""Seconds between two states on disk: what a kill may cost."""

TOGETHER = 128
"""Inputs that are looked at together, where so many come in `GATHERED`."""

GATHERED = 0.05
"""Seconds that inputs wait for others: looked at together they take less time from those who answer."""

COPIED = 1 << 20
"""Bytes of inputs that are copied for that, at most."""

READ = 64
"""Of them that are in memory at once."""

LEARNED = 3000
"""Natural images that habits are learned from, at most."""

LAST = 5.0
"""Seconds for the last alarms, at most."""

PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Watched:
    """What is watched: one artifact.

    Attributes:
        fingerprint: of its file.
        manifest: of the gate.
        values: of one input.
        bounds: smallest and largest value of an input, as clients send it.
        read: makes inputs of image files.
    """

    fingerprint: str
    manifest: dict[str, Any]
    values: int
    bounds: tuple[float, float]
    read: Callable[[Sequence[Path]], NDArray[Any]]


class Watch:
    """A monitor and a query detector, with a thread that feeds them.

    Attributes:
        monitor: of the artifact that is watched; None before the first.
        queries: the same; None where query attacks are not looked for.
        lost: inputs that nothing looked at: the queue was full, or another artifact had come before their turn.

    Args:
        settings: see `WatchSettings`.
        told: called with each alarm, the fingerprint of the artifact, and the request that raised it.

    Raises:
        UsageError: a number makes no sense, or the webhook, its secret, Redis or the folder cannot be used.
    """

    def __init__(self, settings: WatchSettings, told: Callable[[Alarm, str, Job], None]) -> None:
        self.settings, self._told = settings, told
        self._asked = MonitorSettings(false_alarms=settings.false_alarms, clients=settings.clients)
        self._near = QuerySettings(
            near_duplicates=settings.near_duplicates, clients=settings.clients, false_alarms=settings.false_alarms
        )
        self.monitor: Monitor | None = None
        self.queries: QueryDetector | None = None
        self.lost = 0
        self._watched: Watched | None = None
        self._webhook = _webhook(settings)
        self._index = connected(settings.redis) if settings.redis else None
        if settings.state is not None and not settings.state.is_dir():
            raise UsageError(f"state folder {settings.state} is not there; make it, or name another")
        if settings.habits is not None and not settings.habits.is_dir():
            raise UsageError(f"folder of natural images {settings.habits} is not there; name one with some thousand")
        self._jobs: deque[tuple[Judged, str]] = deque()
        self._waiting, self._held, self._closing, self._changed = 0, 0, False, threading.Condition()
        self._using = threading.Lock()  # the monitor: `status` is asked for while the thread below feeds it
        self._saved = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="ce-detect-monitor", daemon=True)
        self._thread.start()

    def begin(self, watched: Watched) -> None:
        """Watch an artifact from now on; evidence goes on where its reference is the one before or the one on disk.

        Raises:
            ArtifactError: its manifest does not say what it promises, or the state on disk is damaged.
        """
        before = self._watched
        if before is not None and before.manifest == watched.manifest:
            self._watched = watched
            return
        monitor = Monitor.of(watched.manifest, self._asked)
        folder = self.settings.state
        if folder is not None:
            monitor_state.read(monitor, folder / "monitor")
        queries = self._detector(watched, folder)
        with self._using:
            self.monitor, self.queries, self._watched = monitor, queries, watched

    def status(self) -> dict[str, Any]:
        """What the monitor says now, see `ce_detect.monitor.Monitor.status`; empty before the first artifact."""
        with self._using:
            return self.monitor.status() if self.monitor else {}

    def take(self, judged: Judged, artifact: str) -> None:
        """Queue a batch."""
        size, held = _inputs(judged), _bytes(judged)
        most, most_bytes = self.settings.waiting, self.settings.waiting_bytes
        with self._changed:
            if self._waiting and (self._waiting + size > most or self._held + held > most_bytes):
                self.lost += size
                return
            self._jobs.append((judged, artifact))
            before, self._waiting = self._waiting, self._waiting + size
            self._held += held
            if before == 0 or self._enough():
                self._changed.notify()

    def close(self, seconds: float | None = None) -> bool:
        """Finish what waits, keep the state, send the last alarms.

        Args:
            seconds: for all that; what is not looked at then is lost, with what was learned since the state was last
                kept. None = for ever.

        Returns:
            Whether the monitor came to its end.
        """
        until = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        ended = not self._thread.is_alive()
        if ended:
            self.save()
        else:
            self.lost += self._waiting
        if self._webhook is not None:
            self._webhook.close(LAST if until is None else min(LAST, max(0.0, until - time.monotonic())))
        return ended

    def save(self) -> None:
        """Keep the state; a folder that cannot be written is told, and nothing else happens."""
        self._saved, folder = time.monotonic(), self.settings.state
        if folder is None or self.monitor is None:
            return
        try:
            monitor_state.write(self.monitor, folder / "monitor")
            if self.queries is not None:
                queries_state.write(self.queries, folder / "queries")
        except OSError as error:
            logger.warning("the monitor's state cannot be kept in %s: %s", folder, error.strerror)

    def _detector(self, watched: Watched, folder: Path | None) -> QueryDetector | None:
        if not self.settings.queries:
            return None
        kept = None if folder is None else queries_state.read(folder / "queries")
        salt = None if kept is None else kept.salt
        if self._index is not None:
            salt = self._index.salt(salt)  # one for all servers, or their hashes would not meet
        made = QueryDetector(watched.values, watched.bounds, self._near, salt=salt, index=self._index)
        if self.settings.habits is not None:
            natural = _natural(self.settings.habits)
            made.learn_habits(watched.read(natural[i : i + READ]) for i in range(0, len(natural), READ))
        if kept is not None and kept.salt == made.sketcher.salt:
            queries_state.restore(made, kept)
        return made

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            try:
                self._observe(*taken)
            except Exception:
                logger.exception("the monitor failed on a batch")
            if time.monotonic() - self._saved > SAVE_EVERY:
                self.save()

    def _next(self) -> tuple[list[tuple[Job, GateResult]], str] | None:
        """What waits, of one artifact, up to some inputs: looked at together they cost less each."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            self._changed.wait_for(lambda: self._enough() or self._closing, GATHERED)
            if not self._jobs:
                return None
            taken: list[tuple[Job, GateResult]] = []
            artifact = self._jobs[0][1]
            while self._jobs and self._jobs[0][1] == artifact and _inputs(taken) < TOGETHER:
                taken += self._jobs.popleft()[0]
            self._waiting -= _inputs(taken)
            self._held -= _bytes(taken)
            return taken, artifact

    def _enough(self) -> bool:
        """Whether what waits is not to wait for more: a queue that fills up would lose inputs."""
        most, most_bytes = min(TOGETHER, self.settings.waiting // 2), min(COPIED, self.settings.waiting_bytes // 2)
        return self._waiting >= most or self._held >= most_bytes

    def _observe(self, judged: Judged, artifact: str) -> None:
        with self._using:
            watched, monitor, queries = self._watched, self.monitor, self.queries
        if monitor is None or watched is None or watched.fingerprint != artifact:  # what came before a reload
            with self._changed:
                self.lost += _inputs(judged)
            return
        calibrated = [(job, result) for job, result in judged if job.threshold is None]  # the promise is of that one
        alarms = []
        for some in [calibrated] if all(job.client for job, _ in calibrated) else [[one] for one in calibrated]:
            if some:
                with self._using:
                    names = _names(some) if some[0][0].client else None
                    alarms += monitor.observe(joined([result for _, result in some]), names)
        if queries is not None:
            for part in _small_ones_together(judged):
                x = [job.x for job, _ in part]
                labels = np.argmax(joined([result for _, result in part]).logits, axis=1)
                alarms += queries.observe(np.concatenate(x) if len(x) > 1 else x[0], labels, _names(part))
        for alarm in alarms:
            jobs = [job for job, _ in judged if alarm.scope != "client" or job.client == alarm.name]
            self._tell(alarm, artifact, (jobs or [judged[-1][0]])[-1])

    def _tell(self, alarm: Alarm, artifact: str, job: Job) -> None:
        logger.warning("alarm: %s", alarm.text, extra={"alarm": alarm.plain()})
        self._told(alarm, artifact, job)
        if self._webhook is not None:
            self._webhook.send(alarm, artifact=artifact)


def _inputs(judged: Judged) -> int:
    return sum(len(job.x) for job, _ in judged)


def _bytes(judged: Judged) -> int:
    return sum(job.x.nbytes for job, _ in judged)


def _names(judged: Judged) -> list[str]:
    """Of the client of each input."""
    return [job.client or "" for job, _ in judged for _ in range(len(job.x))]


def _small_ones_together(judged: Judged) -> list[Judged]:
    """All of them; or each alone, where a copy would cost more than it saves."""
    return [judged] if sum(job.x.nbytes for job, _ in judged) <= COPIED else [[one] for one in judged]


def _natural(folder: Path) -> list[Path]:
    """Image files of a folder, at any depth, in the order of a traffic that knows none: drawn, and always the same."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))[:LEARNED]]


def _webhook(settings: WatchSettings) -> Webhook | None:
    if settings.webhook is None:
        return None
    if settings.webhook_secret is None:
        raise UsageError("a webhook needs a secret to sign with; name a file that holds one")
    try:
        secret = settings.webhook_secret.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"webhook secret {settings.webhook_secret} cannot be read: {error.strerror}") from error
    return Webhook(settings.webhook, secret)
