"""What a record is made of: a request's inputs on their way to a verdict, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ce_detect.verdict.result import GateResult


@dataclass(slots=True, eq=False)
class Job:
    """A request's inputs on their way to a verdict.

    Attributes:
        x: ``(n, …)``.
        id: of the request, for the records.
        threshold: the client's own, None = the calibrated one.
        client: who asked, None where nobody knows.
        span: of the request in its trace, None where nothing is traced.
        future: will hold the `GateResult`, or the error; cancelling it before it runs takes the job out of the queue.
        submitted: when it began to wait, as `time.perf_counter` counts.
        received: the same moment, in seconds since 1970: all records of an input say it, and are known by it.
        started: when its batch began, 0 before.
        finished: when its batch was judged, 0 before.
        batch: inputs in its batch, 0 before.
    """

    x: NDArray[Any]
    id: str | None = None
    threshold: float | None = None
    client: str | None = None
    span: Any = None
    future: Future[GateResult] = field(default_factory=Future)
    submitted: float = field(default_factory=time.perf_counter)
    received: float = field(default_factory=time.time)
    started: float = 0.0
    finished: float = 0.0
    batch: int = 0


Judged = Sequence[tuple[Job, GateResult]]
"""Jobs of one batch with their results."""
