"""What plots show, held against counting by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from support.reports import report
from support.strategies import scores

from ce_detect.evaluate.curves import BINS, POINTS, curves, rate
from ce_detect.evaluate.metrics import share_above


def test_a_rate_has_wilsons_interval() -> None:
    """8 of 10: the closed form of Wilson 1927, with z = 1.96."""
    z, n, share = 1.959964, 10, 0.8
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    found = rate([True] * 8 + [False] * 2)
    assert (found.value, found.n) == (0.8, 10)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert math.isnan(rate([]).value)


def test_the_threshold_is_a_point_of_the_roc() -> None:
    """Its false alarms and its detection are those at the calibrated threshold: 1 of 4, and 2 of 3."""
    found = curves(report(clean=[0.0, 1.0, 2.0, 3.0], attacked={"a": [2.4, 2.6, 9.0], "none": []}, threshold=2.5))
    assert found.roc is not None
    assert found.roc.false_positive_rate[found.roc.chosen] == 0.25
    assert found.roc.detection_rate["a"][found.roc.chosen] == pytest.approx(2 / 3)
    assert found.roc.mean == found.roc.detection_rate["a"]
    assert list(found.roc.detection_rate) == ["a"]
    assert math.isnan(found.detection["none"].value)
    assert found.detection["a"].value == pytest.approx(2 / 3)
    assert found.false_alarms["clean"].value == 0.25


@given(clean=scores(), attacked=scores())
def test_every_point_of_the_roc_is_some_threshold(clean: np.ndarray, attacked: np.ndarray) -> None:
    """It rises from no false alarm to all, and each pair of rates is that of one threshold."""
    roc = curves(report(clean=clean, attacked={"a": attacked}, threshold=float(np.median(clean)))).roc
    assert roc is not None
    pairs = list(zip(roc.false_positive_rate, roc.detection_rate["a"], strict=True))
    assert len(pairs) <= POINTS + 1
    assert pairs == sorted(pairs)
    assert pairs[0][0] == 0
    assert pairs[-1] == (1, 1)
    possible = {(share_above(clean, at), share_above(attacked, at)) for at in (-np.inf, *clean)}
    assert set(pairs) <= possible | {pairs[roc.chosen]}


def test_without_a_success_there_is_no_roc() -> None:
    """The other curves are there."""
    found = curves(report(clean=[0.0, 1.0], threshold=0.5))
    assert found.roc is None
    assert sum(found.histogram.attacked) == 0


def test_a_histogram_counts_everything() -> None:
    """Far scores are in the outermost bins, and equal scores make no trouble."""
    clean, natural = np.linspace(0, 1, 1000), {"jpeg": [0.5] * 999, "dust": [-1e9]}
    found = curves(report(clean=clean, natural=natural, attacked={"a": [2.0, 3.0]}, threshold=1.0)).histogram
    assert len(found.edges) == BINS + 1
    assert (sum(found.clean), sum(found.natural), sum(found.attacked)) == (1000, 1000, 2)
    assert found.natural[0] == found.attacked[-1] == 1
    assert found.edges[0] == pytest.approx(0.005)
    equal = curves(report(clean=[1.0, 1.0], threshold=1.0)).histogram
    assert sum(equal.clean) == 2
    assert (equal.edges[0], equal.edges[-1]) == (0.5, 1.5)
    assert curves(report(clean=[1.0, 2.0], threshold=9.0)).histogram.edges[-1] == 9


def test_p_values_are_calibrated_where_they_are_uniform() -> None:
    """Of clean images i / n have a p-value of at most i / n."""
    even = np.arange(1, 501) / 500
    found = curves(replace_p_values(even)).calibration
    assert found.p_value[0] == even[0]
    assert found.p_value[-1] == 1
    assert [one.value for one in found.share] == pytest.approx(found.p_value)
    assert all(one.low < one.value < one.high or one.value == 1 for one in found.share)
    small = curves(replace_p_values(even**2)).calibration
    assert all(one.value >= at for at, one in zip(small.p_value, small.share, strict=True))


def replace_p_values(p_values: np.ndarray):
    """A report whose clean images have these p-values."""
    made = report(clean=np.zeros(len(p_values)), threshold=1.0)
    return replace(made, scores=replace(made.scores, p_values=p_values))
