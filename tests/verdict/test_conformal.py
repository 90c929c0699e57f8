"""Thresholds and p-values keep their promises on finite samples."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.strategies import rates, scores

from ce_detect.core.errors import CalibrationError, MissingExtraError, TooFewSamplesError
from ce_detect.verdict.conformal import ROUNDING, Guarantee, needed_samples, p_values, rank, threshold

CALIBRATIONS, SAMPLES = 4000, 500
guarantees = st.sampled_from(["pac", "marginal"])


@pytest.fixture(scope="module")
def calibrations() -> NDArray[np.float64]:
    """Clean scores of many calibrations, uniform, so that the false-positive rate of a threshold t is 1 - t."""
    return np.random.default_rng(0).uniform(size=(CALIBRATIONS, SAMPLES))


def thresholds(calibrations: NDArray[np.float64], fpr: float, **settings: object) -> NDArray[np.float64]:
    """The threshold of each calibration; ``threshold`` itself is slow, so it is asked about the first few only."""
    k = rank(SAMPLES, fpr, **settings)
    everyone = np.sort(calibrations, axis=1)[:, k - 1]
    asked = [threshold(row, fpr, **settings) for row in calibrations[:20]]
    np.testing.assert_allclose(asked, everyone[:20], rtol=1e-6, atol=ROUNDING)
    return everyone


@given(scores(), rates(), guarantees)
def test_the_score_that_sets_the_threshold_is_not_at_it(
    clean: NDArray[np.float32], fpr: float, guarantee: Guarantee
) -> None:
    """Exactly the clean scores above that of the rank are flagged, and none lies where rounding decides."""
    assume(len(clean) >= needed_samples(fpr, guarantee=guarantee))
    found = np.float32(threshold(clean, fpr, guarantee=guarantee))
    at = np.sort(clean)[rank(len(clean), fpr, guarantee=guarantee) - 1]
    assert ((clean > found) == (clean > at)).all()
    gaps = np.abs(np.unique(clean.astype(np.float64)) - at)
    if gaps[gaps > 0].min(initial=1.0) > 2.1 * ROUNDING and abs(at) < 100:
        assert np.abs(clean.astype(np.float64) - found).min() > 0.9 * ROUNDING


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.2])
def test_marginal_holds_on_average(calibrations: NDArray[np.float64], fpr: float) -> None:
    """Over many calibrations the mean rate of false alarms is at most the one promised, and not far below."""
    realised = 1 - thresholds(calibrations, fpr, guarantee="marginal")
    noise = 4 * realised.std() / math.sqrt(CALIBRATIONS)
    assert realised.mean() <= fpr + noise
    assert realised.mean() >= fpr - 1 / SAMPLES - noise


@pytest.mark.parametrize(("fpr", "confidence"), [(0.01, 0.9), (0.05, 0.9), (0.05, 0.5), (0.2, 0.99)])
def test_pac_holds_for_most_calibrations(calibrations: NDArray[np.float64], fpr: float, confidence: float) -> None:
    """The rate of false alarms exceeds the promise in at most the stated share; that of a plain quantile in more."""
    ours = thresholds(calibrations, fpr, confidence=confidence)
    exceeded = np.mean(1 - ours > fpr)
    allowed = 1 - confidence
    noise = 4 * math.sqrt(allowed * confidence / CALIBRATIONS)
    assert exceeded <= allowed + noise
    naive = np.quantile(calibrations, 1 - fpr, axis=1)
    if confidence > 0.6:
        assert np.mean(1 - naive > fpr) > allowed + noise
    assert ours.mean() <= naive.mean() + 3 * math.sqrt(fpr / SAMPLES)


def test_figures_of_the_documentation() -> None:
    """With 500 scores at 5 %: a mean rate of 3.8 % for pac at 90 % confidence; the 476th score for marginal."""
    k = rank(500, 0.05, confidence=0.9)
    assert 1 - k / 501 == pytest.approx(0.038, abs=5e-4)
    assert rank(500, 0.05, guarantee="marginal") == 476


@given(rates(), guarantees, st.sampled_from([0.5, 0.75, 0.8, 0.9, 0.95, 0.99]))
@example(fpr=0.5, guarantee="pac", confidence=0.75)  # (1 - fpr) ** n equals 1 - confidence
@example(fpr=0.1, guarantee="pac", confidence=0.19)
@example(fpr=0.2, guarantee="pac", confidence=0.36)
@example(fpr=0.3, guarantee="pac", confidence=0.51)
@example(fpr=0.1, guarantee="marginal", confidence=0.9)
def test_needed_samples_are_exact(fpr: float, guarantee: Guarantee, confidence: float) -> None:
    """That many clean samples do, with the largest score as threshold; one fewer does not, and the error says so."""
    n = needed_samples(fpr, guarantee=guarantee, confidence=confidence)
    assert rank(n, fpr, guarantee=guarantee, confidence=confidence) == n
    assume(n > 1)
    with pytest.raises(TooFewSamplesError, match=f"needs at least {n} clean samples.*but there are {n - 1}") as caught:
        rank(n - 1, fpr, guarantee=guarantee, confidence=confidence)
    assert (caught.value.needed, caught.value.given) == (n, n - 1)


@given(st.integers(1, 2000), rates(), st.sampled_from([0.19, 0.36, 0.5, 0.75, 0.9, 0.99]))
def test_pac_rank_is_the_smallest_that_holds(n: int, fpr: float, confidence: float) -> None:
    """Counted by the binomial distribution, the rank holds the promise and the one below it does not."""
    from scipy.stats import binom

    assume(n >= needed_samples(fpr, confidence=confidence))
    k = rank(n, fpr, confidence=confidence)
    # the k-th smallest of n uniforms exceeds 1 - fpr exactly if at most k - 1 of them do not
    holds = [binom.cdf(j - 1, n, 1 - fpr) for j in (k, k - 1)]
    assert holds[0] >= confidence - 1e-9
    assert holds[1] < confidence


@pytest.mark.parametrize(
    ("fpr", "guarantee", "n"), [(0.01, "pac", 299), (0.05, "pac", 59), (0.01, "marginal", 99), (0.05, "marginal", 19)]
)
def test_well_known_sample_sizes(fpr: float, guarantee: Guarantee, n: int) -> None:
    """The sizes that the literature states."""
    assert needed_samples(fpr, guarantee=guarantee) == n


@given(scores(least=50, most=200), scores(), rates(), rates(), guarantees)
def test_smaller_rate_never_flags_more(
    clean: NDArray[np.float64], new: NDArray[np.float64], one: float, other: float, guarantee: Guarantee
) -> None:
    """What is flagged at a smaller false-positive rate is flagged at a larger one."""
    small, large = sorted((one, other))
    assume(len(clean) >= needed_samples(small, guarantee=guarantee))
    strict, loose = (new > threshold(clean, fpr, guarantee=guarantee) for fpr in (small, large))
    assert not (strict & ~loose).any()


@given(scores(least=50, most=200), rates(), guarantees)
def test_calibration_data_keep_the_promise(clean: NDArray[np.float64], fpr: float, guarantee: Guarantee) -> None:
    """On the clean scores themselves at most the promised share is flagged, ties or not."""
    assume(len(clean) >= needed_samples(fpr, guarantee=guarantee))
    assert np.mean(clean > threshold(clean, fpr, guarantee=guarantee)) <= fpr


@given(scores(), scores(least=0))
def test_p_values_follow_their_formula(clean: NDArray[np.float64], new: NDArray[np.float64]) -> None:
    """One plus the number of clean scores at least as large, over one more than their number."""
    expected = [(1 + sum(c >= s for c in clean)) / (len(clean) + 1) for s in new]
    got = p_values(clean, new)
    assert got.shape == new.shape
    np.testing.assert_allclose(got, expected)


@given(scores(least=20, most=100), scores(), rates())
def test_marginal_verdict_equals_that_of_the_p_value(
    clean: NDArray[np.float64], new: NDArray[np.float64], fpr: float
) -> None:
    """An input is flagged exactly if its p-value is at most the rate."""
    assume(len(clean) >= needed_samples(fpr, guarantee="marginal"))
    flagged = new > threshold(clean, fpr, guarantee="marginal")
    assert (flagged == (p_values(clean, new) <= fpr + 1e-9)).all()


def test_threshold_is_in_the_precision_of_the_gate() -> None:
    """Just above one of the scores, and exact in single precision, so that a gate compares like with like."""
    clean = np.random.default_rng(3).normal(size=300).astype(np.float32)
    for guarantee in ("pac", "marginal"):
        t = threshold(clean, 0.05, guarantee=guarantee)
        assert np.float32(t) == t
        assert 0 < (t - clean[clean <= t]).min() <= 1.01 * ROUNDING
        assert (clean > t).sum() == 300 - rank(300, 0.05, guarantee=guarantee)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fpr": 0.0}, "fpr = 0.0 is not a false-positive rate between 0 and 1"),
        ({"fpr": 1.0}, "fpr = 1.0"),
        ({"fpr": float("nan")}, "fpr = nan"),
        ({"guarantee": "bayes"}, "guarantee = 'bayes' is neither 'pac' nor 'marginal'"),
        ({"confidence": 1.0}, "confidence = 1.0 is not a probability"),
    ],
)
def test_senseless_promises_are_refused(change: dict[str, object], message: str) -> None:
    """The error names the value and what it should be."""
    with pytest.raises(CalibrationError, match=message):
        rank(1000, **{"fpr": 0.05, **change})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    """One NaN or infinite score spoils a threshold, so there is none."""
    clean = np.zeros(500)
    clean[3] = bad
    with pytest.raises(CalibrationError, match="finite one-dimensional"):
        threshold(clean, 0.05)
    with pytest.raises(CalibrationError, match="finite one-dimensional"):
        threshold(np.zeros((500, 1)), 0.05)


def test_missing_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scipy the pac guarantee says which extra brings it; the marginal one does without."""
    for name in ("scipy", "scipy.stats"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"ce-detect\[calibrate\]"):
        rank(500, 0.05)
    assert rank(500, 0.05, guarantee="marginal") == 476
