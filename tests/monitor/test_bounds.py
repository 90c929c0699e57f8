"""Quantiles and bounds without SciPy are those of SciPy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from ce_detect.core.errors import UsageError
from ce_detect.monitor.bounds import at_least, beta_quantile, lower_rate, upper_rate


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.0005, 0.9995))
def test_quantiles_are_those_of_scipy(a: int, b: int, level: float) -> None:
    """Whole numbers suffice for order statistics, and need only sums."""
    assert beta_quantile(level, a, b) == pytest.approx(beta.ppf(level, a, b), rel=1e-6)


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0, 1))
def test_tails_are_those_of_scipy(count: int, trials: int, rate: float) -> None:
    """Also at the edges."""
    assert at_least(count, trials, rate) == pytest.approx(binom.sf(count - 1, trials, rate), abs=1e-9)


def test_bounds_hold_as_often_as_they_say() -> None:
    """Over all outcomes of 60 trials, the true rate lies outside with at most the probability that was named."""
    for rate in (0.01, 0.05, 0.3):
        outcomes = range(61)
        missed_above = sum(binom.pmf(k, 60, rate) for k in outcomes if upper_rate(k, 60, 0.05) < rate)
        missed_below = sum(binom.pmf(k, 60, rate) for k in outcomes if lower_rate(k, 60, 0.05) > rate)
        assert missed_above <= 0.05
        assert missed_below <= 0.05
    assert upper_rate(60, 60, 0.05) == 1.0
    assert lower_rate(0, 60, 0.05) == 0.0


@pytest.mark.parametrize("asked", [(3, 2, 0.1), (-1, 2, 0.1), (1, 2, 0.0), (1, 2, 1.0)])
def test_impossible_counts_are_refused(asked: tuple[int, int, float]) -> None:
    """A bound of nonsense is an error."""
    with pytest.raises(UsageError, match="expected 0 <= count <= trials"):
        upper_rate(*asked)


def test_many_trials_are_looked_at_where_they_count() -> None:
    """A hundred thousand clean images took nine seconds; what lies far from the mean adds nothing."""
    for count, rate in ((0, 0.1), (1, 1e-7), (50_000, 0.0505), (50_500, 0.05), (999_990, 0.999_99), (700_000, 0.2)):
        expected = float(binom.sf(count - 1, 1_000_000, rate))
        assert at_least(count, 1_000_000, rate) == pytest.approx(expected, rel=1e-6, abs=1e-12)
