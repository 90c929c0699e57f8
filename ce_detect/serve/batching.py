"""Dynamic batching: requests wait in a bounded queue, and one thread sends them through the gate together.

While a batch is computed the queue fills, so batches grow with the load by themselves; an incomplete batch waits for
company for a short time only. The gate checks the pixels of the whole batch at once. Where it refuses, the requests
whose pixels are to blame are judged alone, which gives each its own error, and the others together: nobody fails for a
neighbour.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.artifacts.graph_format import OUTPUTS
from ce_detect.core.errors import InputError
from ce_detect.records.record import Job, Judged
from ce_detect.serve.errors import QueueFullError, RequestError
from ce_detect.serve.settings import Limits
from ce_detect.verdict.policies import Policy, as_policy
from ce_detect.verdict.result import GateResult

Judge = Callable[[NDArray[Any]], GateResult]


Record = Callable[[Judged], None]
"""Told of every judged batch before the answers leave, in the thread of the batcher."""


class Batcher:
    """A bounded queue and the thread that empties it.

    Args:
        judge: the gate.
        bounds: of valid pixels, None where every value is valid.
        limits: sizes and times.
        policy: what happens to the labels of flagged inputs.
        record: see `Record`.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        bounds: tuple[float, float] | None,
        limits: Limits,
        policy: Policy | str = "flag",
        record: Record | None = None,
    ) -> None:
        self._judge, self._bounds, self._limits, self._record = judge, bounds, limits, record
        self._policy = as_policy(policy)
        self._jobs: deque[Job] = deque()
        self._waiting, self._closing, self._changed = 0, False, threading.Condition()
        self._buffer: NDArray[Any] | None = None
        self._thread = threading.Thread(target=self._work, name="ce-detect-batcher", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether jobs are being worked on."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Inputs in the queue."""
        return self._waiting

    def submit(self, job: Job) -> Job:
        """Put a job into the queue; an empty queue takes any size.

        Raises:
            QueueFullError: too many inputs wait.
            RequestError: the batcher is closed.
        """
        with self._changed:
            if self._closing:
                raise RequestError("the server is stopping", status=503, retry_after=1)
            if self._waiting and self._waiting + len(job.x) > self._limits.queue:
                raise QueueFullError(self._waiting, self._limits.queue)
            self._jobs.append(job)
            self._waiting += len(job.x)
            self._changed.notify()
        return job

    def close(self, seconds: float | None = None) -> bool:
        """Take no more jobs, finish those that wait, and end the thread.

        Args:
            seconds: to wait for that; then the thread is left to itself, and ends with the process. None = for ever.

        Returns:
            Whether it ended.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if running:
                self._settle(running)

    def _take(self) -> list[Job] | None:
        """The jobs of the next batch; None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            if not self._jobs:
                return None
            until = self._jobs[0].submitted + self._limits.delay
            while self._waiting < self._limits.batch and not self._closing:
                left = until - time.perf_counter()
                if left <= 0 or not self._changed.wait(left):
                    break
            jobs = [self._jobs.popleft()]
            size = len(jobs[0].x)
            while self._jobs and size + len(self._jobs[0].x) <= self._limits.batch:
                jobs.append(self._jobs.popleft())
                size += len(jobs[-1].x)
            self._waiting -= size
            return jobs

    def _settle(self, jobs: Sequence[Job]) -> None:
        """Give every job its result or its error."""
        started, size = time.perf_counter(), sum(len(job.x) for job in jobs)
        for job in jobs:
            job.started, job.batch = started, size
        outcomes = self._outcomes(jobs)
        judged = [(job, outcome) for job, outcome in outcomes if isinstance(outcome, GateResult)]
        finished = time.perf_counter()
        for job, _ in judged:
            job.finished = finished
        try:
            if self._record is not None and judged:
                self._record(judged)
        except Exception as error:  # noqa: BLE001  whatever it is, these requests fail and the thread goes on
            outcomes = [(job, error) for job, _ in outcomes]
        for job, outcome in outcomes:
            if isinstance(outcome, GateResult):
                job.future.set_result(outcome)
            else:
                job.future.set_exception(outcome)

    def _outcomes(self, jobs: Sequence[Job]) -> list[tuple[Job, GateResult | Exception]]:
        try:
            return list(zip(jobs, self._judged(jobs), strict=True))
        except InputError as error:
            if len(jobs) == 1:
                return [(jobs[0], error)]
        except Exception as error:  # noqa: BLE001  ONNX Runtime's errors have no root; these requests fail
            return [(job, error) for job in jobs]
        blamed = [job for job in jobs if self._is_invalid(job.x)] or jobs
        rest = [job for job in jobs if job not in blamed]
        alone = [outcome for job in blamed for outcome in self._outcomes([job])]
        return alone + (self._outcomes(rest) if rest else [])

    def _judged(self, jobs: Sequence[Job]) -> list[GateResult]:
        size = self._limits.batch
        if len(jobs) > 1:
            result = self._judge(self._together(jobs))
        else:
            x = jobs[0].x if jobs[0].x.flags.aligned else jobs[0].x.copy()
            result = joined([self._judge(x[i : i + size]) for i in range(0, len(x), size)])
        stops = np.cumsum([len(job.x) for job in jobs]).tolist()
        return [
            self._policy.apply(_of_threshold(_rows(result, stop - len(job.x), stop), job.threshold), job.x)
            for job, stop in zip(jobs, stops, strict=True)
        ]

    def _together(self, jobs: Sequence[Job]) -> NDArray[Any]:
        """The inputs of several jobs in one array, whose memory is used again and again."""
        first = jobs[0].x
        if self._buffer is None:
            self._buffer = np.empty((self._limits.batch, *first.shape[1:]), first.dtype)
        size = sum(len(job.x) for job in jobs)
        return np.concatenate([job.x for job in jobs], out=self._buffer[:size])

    def _is_invalid(self, x: NDArray[Any]) -> bool:
        if self._bounds is None:
            return False
        low, high = self._bounds
        return not (low <= x.min() and x.max() <= high)  # also where one is NaN


def _rows(result: GateResult, start: int, stop: int) -> GateResult:
    arrays: dict[str, Any] = {name: getattr(result, name)[start:stop] for name in OUTPUTS}
    return replace(result, **arrays)


def joined(results: Sequence[GateResult]) -> GateResult:
    """Results of several batches as one."""
    if len(results) == 1:
        return results[0]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(result, name) for result in results]) for name in OUTPUTS}
    return replace(results[0], **arrays)


def _of_threshold(result: GateResult, threshold: float | None) -> GateResult:
    """The verdict with another threshold: nothing else depends on it, so such requests share a batch with the rest."""
    if threshold is None:
        return result
    return replace(result, is_adversarial=~(result.score <= threshold), threshold=threshold)
