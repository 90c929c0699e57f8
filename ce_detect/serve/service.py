"""The artifact behind the routes: loading, reloading without a lost request, draining."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ce_detect.core.errors import ArtifactError, CeDetectError
from ce_detect.monitor import Alarm
from ce_detect.records.audit import AuditLog
from ce_detect.records.quarantine import Quarantine
from ce_detect.records.record import Job, Judged
from ce_detect.serve.errors import RequestError
from ce_detect.serve.metrics import Metrics
from ce_detect.serve.model import Model
from ce_detect.serve.settings import Settings
from ce_detect.serve.watch import Watch

logger = logging.getLogger("ce_detect.serve")

_LEAST = 0.2  # seconds that are always left to end in order

MODEL_VERSION = "1"
"""Of the model in the protocol; a reload does not change it, the artifact's fingerprint tells files apart."""


class Service:
    """The artifact, its queue and its records; methods are called on the event loop.

    Attributes:
        settings: of the server.
        metrics: of the server.
        watch: the monitor; None where the stream is not watched.
        failure: why there will never be an artifact, None where there is or will be one.
        draining: whether the server is about to stop.
        gave_up: whether a thread was left computing, so that the process cannot end in order.
        trace_alarm: told of each alarm, see `ce_detect.serve.tracing.Tracing.alarm`; None where nothing is traced.

    Args:
        settings: of the server.

    Raises:
        UsageError: the audit log or the quarantine cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.failure: CeDetectError | None = None
        self.draining = self.gave_up = False
        self.trace_alarm: Callable[[Alarm, str, str, Any], None] | None = None
        self._stop_by: float | None = None
        self._model: Model | None = None
        self._reloading, self._recording = asyncio.Lock(), threading.Lock()
        self.metrics = Metrics(
            waiting=lambda: self._model.batcher.waiting if self._model else 0,
            artifact=lambda: self._model.described if self._model else {},
            threshold=lambda: self._model.threshold if self._model else float("nan"),
        )
        named = {"model": settings.name, "policy": settings.policy}
        self._audit = AuditLog(settings.audit, **named) if settings.audit else None
        self._quarantine = Quarantine(settings.quarantine, self._quarantined) if settings.quarantine else None
        self.watch = Watch(settings.watch, self._alarmed) if settings.watch else None
        if self.watch is not None:
            self.metrics.watch(self.watch)

    @property
    def ready(self) -> bool:
        """Whether requests are answered, and will be for a while."""
        return self._model is not None and not self.draining

    @property
    def alive(self) -> bool:
        """Whether a restart would not help."""
        return self._model is None or self._model.batcher.alive

    def model(self, name: str, version: str | None = None) -> Model:
        """The artifact that is served; to be used before the event loop goes on, or a reload may close its queue.

        Raises:
            RequestError: no such model, or it is not loaded yet.
        """
        if name != self.settings.name or version not in (None, MODEL_VERSION):
            asked = name[:40] if version is None else f"{name[:40]} version {version[:40]}"
            raise RequestError(
                f"no model {asked!r}, this server has {self.settings.name!r} {MODEL_VERSION!r}", status=404
            )
        if self._model is None:
            raise RequestError("the model is still loading; ask again", status=503, retry_after=1)
        return self._model

    def drain(self, seconds: float) -> None:
        """Be no longer ready, and end within a time."""
        self.draining, self._stop_by = True, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the end, at least some; where none was told, as many as draining may take."""
        if self._stop_by is None:
            return self.settings.limits.drain_seconds
        return max(_LEAST, self._stop_by - time.monotonic())

    async def load(self) -> None:
        """Load the artifact and warm it up; `failure` says if that cannot be."""
        try:
            model = await self._apart()
            await asyncio.to_thread(self._watch, model)
        except CeDetectError as error:
            self.failure = error
            return
        except asyncio.CancelledError:
            self._give_up("loading the artifact")
            raise
        except Exception as error:
            logger.exception("the artifact cannot be loaded")
            self.failure = ArtifactError(f"{self.settings.artifact} cannot be loaded: {error!r}")
            self.failure.__cause__ = error
            return
        self._model = model
        logger.info("ready", extra={"artifact": model.described})

    async def reload(self) -> None:
        """Load the artifact's file anew and let it take the place of the old one; a bad file changes nothing.

        Requests that came before are answered by the old artifact. A file whose inputs or classes differ is refused:
        clients would break, so that takes a restart.
        """
        async with self._reloading:
            old = self._model
            if old is None:
                return
            try:
                new = await self._successor(old)
                await asyncio.to_thread(self._watch, new)
            except Exception as error:  # noqa: BLE001  whatever it is, the old artifact goes on
                self.metrics.reloads.labels("refused").inc()
                logger.warning("reload refused, the old artifact goes on serving: %s", error)
                return
            self._model = new
            if not await asyncio.to_thread(old.batcher.close, self.settings.limits.drain_seconds):
                self._give_up("a batch of the artifact before")
            self.metrics.reloads.labels("done").inc()
            logger.info("reloaded", extra={"artifact": new.described})

    async def _successor(self, old: Model) -> Model:
        """The artifact's file loaded anew, if requests to it look as before."""
        new = await self._apart()
        if new.contract != old.contract:
            await asyncio.to_thread(new.batcher.close)
            raise ArtifactError(f"inputs or classes changed from {old.contract} to {new.contract}; restart")
        return new

    async def close(self) -> None:
        """Finish what waits and close the records, within the time that is left."""
        try:
            await asyncio.wait_for(self._reloading.acquire(), self.left())
        except TimeoutError:
            self._give_up("loading the artifact anew")
        if self._model is not None and not await asyncio.to_thread(self._model.batcher.close, self.left()):
            self._give_up("a batch")
        if self.watch is not None and not await asyncio.to_thread(self.watch.close, self.left()):
            self._give_up("the monitor")
        if self._quarantine is not None and not await asyncio.to_thread(self._quarantine.close, self.left()):
            self._give_up("the quarantine")
        if self._audit is not None:
            self._audit.close()

    def _give_up(self, what: str) -> None:
        """Leave a thread to itself: whatever it computes does not end in time, and nothing stops it."""
        self.gave_up = True
        logger.warning("%s did not end in time, and is given up", what)

    def _quarantined(self, outcome: str) -> None:
        self.metrics.quarantined.labels(outcome).inc()

    async def _apart(self) -> Model:
        """Load in a thread that ends with the process: what a graph computes may never end, and nothing stops it."""
        found: Future[Model] = Future()
        found.set_running_or_notify_cancel()

        def load() -> None:
            try:
                found.set_result(Model(self.settings, self._record))
            except BaseException as error:  # noqa: BLE001  handed on to whoever waits
                found.set_exception(error)

        threading.Thread(target=load, name="ce-detect-loader", daemon=True).start()
        return await asyncio.wrap_future(found)

    def _watch(self, model: Model) -> None:
        """Let the monitor watch what is about to be asked; where it cannot, the model is closed again."""
        if self.watch is None:
            return
        try:
            self.watch.begin(model.watched)
        except Exception:
            model.batcher.close()
            raise

    def _alarmed(self, alarm: Alarm, artifact: str, job: Job) -> None:
        self.metrics.alarms.labels(alarm.kind, alarm.scope).inc()
        if self.trace_alarm is not None:
            self.trace_alarm(alarm, self.settings.name, artifact, job.span)
        with self._recording:
            if self._audit is not None:
                self.metrics.audit_lost.inc(self._audit.alarm(alarm.plain(), artifact))

    def _record(self, judged: Judged, artifact: str) -> None:
        """Write down a batch before its answers leave; two artifacts do so in turn while one replaces the other."""
        with self._recording:
            self.metrics.observe(judged)
            if self._audit is not None:
                self.metrics.audit_lost.inc(self._audit.write(judged, artifact))
            if self._quarantine is not None:
                self._quarantine.keep(judged)
        if self.watch is not None:
            self.watch.take(judged, artifact)
