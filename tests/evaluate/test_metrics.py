"""Detection metrics against scikit-learn and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from support.strategies import scores

from ce_detect.evaluate.metrics import auroc, share_above, tpr_at

Scores = NDArray[np.float64]


@given(scores(), scores())
def test_auroc_is_that_of_scikit_learn(clean: Scores, attacked: Scores) -> None:
    """Ties count half, whatever the sizes of the two sides."""
    labels = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    assert auroc(clean, attacked) == pytest.approx(roc_auc_score(labels, np.r_[clean, attacked]))


@given(scores(), scores())
def test_auroc_knows_which_side_is_which(clean: Scores, attacked: Scores) -> None:
    """Exchanging the sides, or turning the scores round, takes it from one; only the order of scores matters."""
    assert auroc(attacked, clean) == pytest.approx(1 - auroc(clean, attacked))
    assert auroc(-clean, -attacked) == pytest.approx(1 - auroc(clean, attacked))
    assert auroc(np.exp(clean), np.exp(attacked)) == pytest.approx(auroc(clean, attacked))


def test_perfect_and_useless_detectors() -> None:
    """Larger means more adversarial: one if all attacked score above all clean, a half if all are equal."""
    low, high = np.zeros(5), np.ones(3)
    assert (auroc(low, high), auroc(high, low), auroc(low, low)) == (1.0, 0.0, 0.5)


@given(scores(), scores(), st.one_of(st.sampled_from([0.0, 0.05, 0.5, 1.0]), st.floats(0, 1)))
def test_tpr_at_is_the_best_that_the_rate_allows(clean: Scores, attacked: Scores, fpr: float) -> None:
    """Of all thresholds with at most that share of clean scores above them, the one that detects most is taken."""
    thresholds = [-math.inf, *clean]
    allowed = [t for t in thresholds if np.mean(clean > t) <= fpr + 1e-9]
    expected = max(float(np.mean(attacked > t)) for t in allowed)
    assert tpr_at(clean, attacked, fpr) == pytest.approx(expected)


def test_share_above_is_strict() -> None:
    """A score equal to the threshold is not flagged."""
    assert share_above(np.array([1.0, 2.0, 2.0, 3.0]), 2.0) == 0.25
    assert share_above([1.0, 3.0], 2.0) == 0.5


def test_nothing_to_measure_gives_nan() -> None:
    """Without attacked or without clean inputs there is no figure, and no error."""
    some, none = np.ones(3), np.zeros(0)
    figures = [auroc(none, some), auroc(some, none), share_above(none, 0.0), tpr_at(none, some, 0.05)]
    assert all(math.isnan(figure) for figure in [*figures, tpr_at(some, none, 0.05)])
