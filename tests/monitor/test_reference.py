"""What a finite calibration says of clean inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import manifests
from support.streams import FPR, Source

from ce_detect.core.errors import ArtifactError, UsageError
from ce_detect.monitor import Reference
from ce_detect.monitor.reference import threshold_rank
from ce_detect.verdict.conformal import rank

ODD = (0, -5, float("inf"), 10**11, 10**30, None)
"""Numbers of clean images that no calibration has; one took all memory."""

SAID = {"fpr": 0.01, "confidence": 0.9, "guarantee": "pac", "data": {"splits": {"calibrate": 600}}}


@pytest.mark.parametrize("n", [300, 421, 1000, 5000])
@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.1])
def test_the_rank_is_that_of_the_calibration(n: int, fpr: float) -> None:
    """It is found without SciPy, and is the same."""
    assert threshold_rank(n, fpr, confidence=0.95) == rank(n, fpr)
    assert threshold_rank(n, fpr, confidence=None) == rank(n, fpr, guarantee="marginal")


def test_the_bounds_hold_for_nearly_every_calibration() -> None:
    """Among 600 calibrations of uniform scores, the true rates exceed a bound about as seldom as was asked."""
    broken = 0
    for seed in range(600):
        clean = np.sort(np.random.default_rng(seed).random(400))[::-1]
        reference = Reference.of_scores(400, 3, promise=FPR, error=0.05)
        ranks = np.round(reference.levels * 401 - 1.5).astype(int)
        true = np.array([1 - clean[3], *(1 - clean[ranks])])
        tail, middle = (clean[round(cut * 401 - 1.5)] for cut in reference.bulk)
        bulk = (tail - middle) / tail
        low, high = reference.bulk_rates
        broken += bool((true > reference.rates).any() or not low <= bulk <= high)
    assert 0 < broken <= 0.05 * 600


def test_what_the_manifest_says_is_enough() -> None:
    """A pac gate with 421 scores flags above the largest but one; the promise is told on."""
    manifest = manifests.plain(data={"splits": {"calibrate": 600}})
    reference = Reference.of(manifest)
    expected = Reference.of_scores(600, 600 - rank(600, 0.01), promise=0.01)
    np.testing.assert_array_equal(reference.rates, expected.rates)
    assert reference.promise == 0.01
    assert (np.diff(reference.levels) > 0).all()
    assert (np.diff(reference.rates[1:]) > 0).all()


@pytest.mark.parametrize(
    "manifest",
    [
        {}, {**SAID, "data": {}}, {**SAID, "fpr": "x"}, {**SAID, "fpr": 2.0}, {**SAID, "fpr": float("nan")},
        {**SAID, "confidence": float("nan")}, *({**SAID, "data": {"splits": {"calibrate": n}}} for n in ODD),
    ],
)  # fmt: skip
def test_a_manifest_without_the_numbers_is_refused(manifest: dict[str, object]) -> None:
    """The error says what to do instead."""
    with pytest.raises(ArtifactError, match=r"Reference\.measured"):
        Reference.of(manifest)


def test_impossible_numbers_are_refused() -> None:
    """A threshold that all scores are above, or no probability."""
    with pytest.raises(UsageError, match="expected 0 <= flagged < n"):
        Reference.of_scores(10, 10, promise=0.1)
    with pytest.raises(UsageError, match="error and promise"):
        Reference.of_scores(10, 1, promise=0.1, error=1.5)


def test_measured_rates_are_bounds_by_label_too() -> None:
    """A label whose clean inputs are flagged more often gets a higher rate; rare labels get looser ones."""
    source = Source(0)
    scores = np.random.default_rng(5).random(6000)
    labels = np.where(scores > 0.9, 1, 0)
    result = replace(source.judged(scores), label=labels)
    reference = Reference.measured(result, len(source.clean), promise=FPR)
    share = float(result.is_adversarial.mean())
    assert share < reference.rates[0] < share + 0.01
    assert reference.by_label[1] > 5 * reference.by_label[0]
    beyond = result.p_value[result.p_value > reference.bulk[0]]
    low, high = reference.bulk_rates
    assert low < float((beyond <= reference.bulk[1]).mean()) < high < low + 0.06
    hits, count = reference.known
    assert count == 6001
    found = reference.hits(result)[:, 1:].sum(0)
    assert (found < hits).all()  # ties count as no hits
    assert (found > 0.5 * hits - 10).all()
    with pytest.raises(UsageError, match="no clean verdicts"):
        Reference.measured(source.verdicts(0), 600, promise=FPR)


def test_hits_are_flags_and_levels() -> None:
    """One column for the verdict, one a level; an input above every clean score is a hit at each."""
    source = Source(0)
    hits = source.reference.hits(source.judged(np.array([2.0, 0.0])))
    assert hits.tolist() == [[True] * hits.shape[1], [False] * hits.shape[1]]
