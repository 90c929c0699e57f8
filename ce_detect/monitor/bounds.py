"""Bounds on a rate from a few counts, exact for any size; without SciPy, which a server does not have."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ce_detect.core.errors import UsageError

_HALVINGS = 60
"""Steps of the search for a quantile: more do not change a float."""


@cache
def beta_quantile(level: float, a: int, b: int) -> float:
    """Value below which a share ``level`` of the distribution Beta(a, b) lies.

    With ``n`` clean scores, the rate at which clean inputs exceed the (r + 1)-th largest is Beta(r + 1, n − r).

    Args:
        level: in (0, 1).
        a: at least 0; 0 gives 0.
        b: at least 0; 0 gives 1.
    """
    if a <= 0 or b <= 0:
        return 0.0 if a <= 0 else 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at_least(a, a + b - 1, middle) > level else (middle, high)
    return high


def at_least(count: int, trials: int, rate: float) -> float:
    """Probability of at least ``count`` hits in that many trials; that of Beta(count, trials − count + 1) ≤ rate."""
    if count <= 0 or count > trials or rate <= 0:
        return float(count <= 0)
    if rate >= 1:
        return 1.0
    reach = 40 * math.sqrt(trials * rate * (1 - rate)) + 800  # what lies farther from the mean has no weight
    first, last = max(count, int(trials * rate - reach)), int(max(count, trials * rate) + reach)
    hits = np.arange(first, min(trials, last) + 1)
    factorials = _log_factorials(trials)
    choices = factorials[trials] - factorials[hits] - factorials[trials - hits]
    return float(np.exp(choices + hits * math.log(rate) + (trials - hits) * math.log1p(-rate)).sum())


def upper_rate(count: int, trials: int, error: float) -> float:
    """Clopper–Pearson upper bound of a rate: the true one is larger with probability at most ``error``.

    Args:
        count: hits.
        trials: independent ones.
        error: in (0, 1).

    Raises:
        UsageError: counts or a probability that make no sense.
    """
    _check(count, trials, error)
    return beta_quantile(1 - error, count + 1, trials - count)


def lower_rate(count: int, trials: int, error: float) -> float:
    """The lower bound, see `upper_rate`."""
    _check(count, trials, error)
    return beta_quantile(error, count, trials - count + 1)


def _check(count: int, trials: int, error: float) -> None:
    if not 0 <= count <= trials or not 0 < error < 1:
        raise UsageError(f"{count} of {trials} at error {error}: expected 0 <= count <= trials and 0 < error < 1")


@cache
def _log_factorials(largest: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])
