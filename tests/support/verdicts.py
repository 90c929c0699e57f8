"""Verdicts as they come to be recorded."""

from __future__ import annotations

import numpy as np

from ce_detect.records.record import Job
from ce_detect.verdict.result import GateResult


def judged(count: int, *, id: str | None = "mine", flagged: bool = True) -> list[tuple[Job, GateResult]]:
    """One request with its verdicts; the probability is NaN, as that of a clean-only detector."""
    x = np.random.default_rng(0).random((count, 3, 4, 5), np.float32)
    score = np.full(count, 2, np.float32)
    none = np.full(count, np.nan, np.float32)
    logits = np.zeros((count, 2), np.float32)
    return [(Job(x, id), GateResult(logits, np.arange(count), score, score / 10, none, score > 1 - flagged, 1.0))]
