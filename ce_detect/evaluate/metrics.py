"""Detection metrics. Larger score = more adversarial; clean inputs are the negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def auroc(clean: NDArray[Any], attacked: NDArray[Any]) -> float:
    """Probability that an attacked input scores above a clean one, ties counting half; NaN where one side is empty."""
    if not len(clean) or not len(attacked):
        return float("nan")
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, attacked, side="left")
    not_above = np.searchsorted(ordered, attacked, side="right")
    return float((below + not_above).mean() / 2 / len(clean))


def share_above(scores: NDArray[Any], threshold: float) -> float:
    """Share of ``scores`` above ``threshold``: a false-positive or a detection rate. NaN where there are none."""
    return float(np.mean(np.asarray(scores) > threshold)) if len(scores) else float("nan")


def tpr_at(clean: NDArray[Any], attacked: NDArray[Any], fpr: float) -> float:
    """Detection rate at the smallest threshold whose false-positive rate *on these clean scores* is at most ``fpr``.

    A description of the ranking, not a promise: the threshold is chosen on the clean scores that it is judged by.
    """
    if not len(clean):
        return float("nan")
    ordered = np.sort(clean)
    allowed = int(np.floor(fpr * len(ordered) + 1e-9))
    if allowed >= len(ordered):
        return share_above(attacked, -np.inf)
    return share_above(attacked, float(ordered[len(ordered) - 1 - allowed]))
