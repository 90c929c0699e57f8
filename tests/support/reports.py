"""Reports with given scores, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ce_detect.evaluate.figures import CleanFigures
from ce_detect.evaluate.metrics import share_above
from ce_detect.evaluate.report import Report
from ce_detect.evaluate.scores import Scores
from ce_detect.verdict.conformal import p_values


def report(
    *,
    clean: ArrayLike,
    threshold: float,
    natural: Mapping[str, Any] | None = None,
    attacked: Mapping[str, Any] | None = None,
    target: float = 0.1,
) -> Report:
    """A report with these scores and no figures but the rate of false alarms."""
    scores = np.asarray(clean, np.float32)
    kept = Scores(
        scores,
        p_values(scores, scores),
        natural={name: np.asarray(found, np.float32) for name, found in (natural or {}).items()},
        attacked={name: np.asarray(found, np.float32) for name, found in (attacked or {}).items()},
    )
    rate = share_above(scores, threshold)
    return Report(threshold, target, CleanFigures(len(scores), rate, *[None] * 5), {}, {}, kept)
