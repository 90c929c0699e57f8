"""Bootstrap intervals cover, and draw attacked twins with their clean images."""

from __future__ import annotations

import numpy as np
import pytest

from ce_detect.evaluate.intervals import Scores, intervals
from ce_detect.evaluate.metrics import auroc


def _area(scores: Scores) -> float:
    return auroc(scores.clean, scores.attacked["a"][0])


def _scores(n: int, shift: float, seed: int) -> Scores:
    generator = np.random.default_rng(seed)
    clean = generator.normal(size=n).astype(np.float32)
    twins = np.arange(0, n, 2)
    return Scores(clean, {"a": (generator.normal(shift, size=len(twins)).astype(np.float32), twins)})


def test_twins_are_drawn_with_their_image() -> None:
    """An image that is drawn twice brings its twin twice."""
    drawn = _scores(6, 0.0, 0).drawn(np.array([0, 0, 1, 5, 4, 4]))
    assert sorted(drawn.attacked["a"][1]) == [0, 0, 4, 4]
    assert len(drawn.clean) == 6


def test_ninety_five_percent_of_the_intervals_hold_the_true_figure() -> None:
    """AUROC of two normal distributions a distance of 1 apart is 0.7602."""
    held = 0
    for seed in range(60):
        low, high = intervals(_scores(120, 1.0, seed), {"auroc": _area}, draws=200)["auroc"]
        held += low <= 0.7602 <= high
    assert 50 <= held <= 60


def test_the_same_seed_gives_the_same_ends_and_more_images_narrower_ones() -> None:
    """Redraws come from the seed alone."""
    ends = [intervals(_scores(n, 1.0, 1), {"auroc": _area}, draws=100)["auroc"] for n in (60, 60, 2000)]
    assert ends[0] == ends[1]
    assert ends[2][1] - ends[2][0] < 0.5 * (ends[0][1] - ends[0][0])


def test_a_figure_that_is_sometimes_undefined_counts_where_it_is_defined() -> None:
    """Draws without the only twin do not count."""
    scores = Scores(np.arange(4, dtype=np.float32), {"a": (np.float32([9.0]), np.array([0]))})
    low, high = intervals(scores, {"auroc": _area}, draws=50)["auroc"]
    assert (low, high) == pytest.approx((1.0, 1.0))
