"""Streams of verdicts, made of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.monitor import Reference
from ce_detect.monitor.reference import threshold_rank
from ce_detect.verdict.conformal import p_values
from ce_detect.verdict.result import GateResult

FPR = 0.01
CLEAN = 600
"""Scores of a calibration."""


class Source:
    """A gate whose clean scores are uniform, with a calibration of so many of them.

    Args:
        seed: of the calibration and the stream.
        n: clean scores.
    """

    def __init__(self, seed: int, n: int = CLEAN) -> None:
        self._random = np.random.default_rng(seed)
        self.clean = np.sort(self._random.random(n))
        rank = threshold_rank(n, FPR, confidence=0.95)
        self.threshold = float(self.clean[rank - 1])
        self.reference = Reference.of_scores(n, n - rank, promise=FPR)

    def verdicts(self, count: int, *, attacked: float = 0.0, shift: float = 0.0) -> GateResult:
        """Verdicts on clean inputs, a share of them attacked (larger than any clean score), or all shifted."""
        scores = self._random.random(count) + shift
        scores[self._random.random(count) < attacked] = 2.0
        return self.judged(scores)

    def judged(self, scores: NDArray[Any], labels: NDArray[Any] | None = None) -> GateResult:
        """Verdicts on scores."""
        labels = np.zeros(len(scores), np.int64) if labels is None else labels
        nan = np.full(len(scores), np.nan)
        flagged = scores > self.threshold
        return GateResult(scores[:, None], labels, scores, p_values(self.clean, scores), nan, flagged, self.threshold)
