"""Thresholds and p-values from clean scores, with finite-sample guarantees.

With ``n`` clean scores that are exchangeable with the clean inputs to come:

- ``marginal``: the chance of a false alarm is at most ``fpr`` *on average over calibrations* (split conformal
  prediction, Vovk et al. 2005). This very calibration may do worse: half of them do.
- ``pac``: with probability at least ``confidence`` over the calibration data, the false-positive rate of *this*
  deployment is at most ``fpr`` (order statistics; Vovk 2012, arXiv 1209.2673). The default.

Benign change. A recipe may also ask for a promise on a mixture of plain and corrupted inputs. Each calibration image is
then scored once more, in one variant drawn at random (several copies of one image would not be independent), and the
threshold is the larger of those from the plain and from the drawn scores. Raising a threshold never flags more, so both
promises hold, each at its own confidence. P-values come from the plain scores.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import CalibrationError, TooFewSamplesError
from ce_detect.core.extras import module

Guarantee = Literal["pac", "marginal"]

ROUNDING = 1e-4
"""Difference of scores between runtimes that is rounding."""


def needed_samples(fpr: float, *, guarantee: Guarantee = "pac", confidence: float = 0.95) -> int:
    """Smallest number of clean samples with which ``fpr`` can be promised.

    Args:
        fpr: false-positive rate, in (0, 1).
        guarantee: ``"pac"`` or ``"marginal"``.
        confidence: for ``"pac"``, the probability that the promise holds, in (0, 1).
    """
    check(fpr, guarantee, confidence)
    if guarantee == "marginal":
        return math.ceil(1 / fpr - 1 - 1e-9)
    return math.ceil(math.log(1 - confidence) / math.log1p(-fpr) - 1e-9)


def rank(n: int, fpr: float, *, guarantee: Guarantee = "pac", confidence: float = 0.95) -> int:
    """Rank ``k`` of the clean score that sets the threshold: inputs above the k-th smallest are flagged.

    Args:
        n: number of clean scores.
        fpr: false-positive rate to promise, in (0, 1).
        guarantee: ``"pac"``: the smallest ``k`` with ``P(Beta(k, n + 1 - k) > 1 - fpr) >= confidence``;
            ``"marginal"``: ``ceil((n + 1)(1 - fpr))``.
        confidence: for ``"pac"``, the probability that the promise holds.

    Raises:
        TooFewSamplesError: no rank does; says how many samples are needed.
        CalibrationError: a rate, guarantee or confidence that makes no sense.
    """
    needed = needed_samples(fpr, guarantee=guarantee, confidence=confidence)
    if n < needed:
        promise = f" with confidence {confidence:g}" if guarantee == "pac" else ""
        raise TooFewSamplesError(
            f"a false-positive rate of {fpr:g} ({guarantee}{promise}) needs at least {needed} clean samples to "
            f"calibrate on, but there are {n}. Give more clean data or ask for a higher rate",
            needed=needed,
            given=n,
        )
    if guarantee == "marginal":
        return min(n, math.ceil((n + 1) * (1 - fpr) - 1e-9))
    return int(pac_ranks(np.array([n]), fpr, confidence)[0])


def pac_ranks(n: NDArray[np.int64], fpr: float, confidence: float) -> NDArray[np.int64]:
    """The ranks of ``pac`` for many numbers of clean scores at once, each large enough; by halving, see `rank`."""
    beta = module("scipy.stats", "The pac guarantee").beta
    low, high = np.zeros_like(n), n
    while (high - low > 1).any():
        middle = np.maximum(1, (low + high) // 2)
        holds = beta.sf(1 - fpr, middle, n + 1 - middle) >= confidence - 1e-9  # or rounding refuses the n-th rank
        low, high = np.where(holds, low, middle), np.where(holds, middle, high)
    return high


def threshold(scores: NDArray[Any], fpr: float, *, guarantee: Guarantee = "pac", confidence: float = 0.95) -> float:
    """Threshold above which an input is flagged, from clean scores ``(n,)``; see `rank`.

    It lies `ROUNDING` above the score of that rank, but at most half-way to the next larger one: runtimes differ in the
    last digits, and must not differ about inputs that score as the one that sets the threshold.

    Raises:
        TooFewSamplesError: ``n`` cannot support the rate.
        CalibrationError: scores that are not finite.
    """
    scores = np.asarray(scores, dtype=np.float32)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise CalibrationError("clean scores must be a finite one-dimensional array")
    return above(scores, rank(len(scores), fpr, guarantee=guarantee, confidence=confidence))


def above(scores: NDArray[np.float32], k: int) -> float:
    """The threshold above the k-th smallest of these scores, see `threshold`."""
    at = np.sort(scores)[k - 1]
    larger = scores[scores > at]
    room = np.inf if not len(larger) else (float(larger.min()) - float(at)) / 2
    above = np.float32(float(at) + min(room, ROUNDING))
    return float(above if not len(larger) or above < larger.min() else at)


def p_values(clean: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
    """Conformal p-values ``(1 + #{clean >= score}) / (n + 1)``, shape of ``scores``, in (0, 1]."""
    ordered = np.sort(np.asarray(clean))
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((1 + at_least) / (len(ordered) + 1))


def check(fpr: float, guarantee: str, confidence: float) -> None:
    """Refuse a promise that makes no sense, see `rank`.

    Raises:
        CalibrationError: a rate, guarantee or confidence that is none.
    """
    if not 0 < fpr < 1:
        raise CalibrationError(f"fpr = {fpr} is not a false-positive rate between 0 and 1")
    if guarantee not in ("pac", "marginal"):
        raise CalibrationError(f"guarantee = {guarantee!r} is neither 'pac' nor 'marginal'")
    if not 0 < confidence < 1:
        raise CalibrationError(f"confidence = {confidence} is not a probability between 0 and 1")
