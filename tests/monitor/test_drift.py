"""Drift: told from inputs that nobody would flag."""

from __future__ import annotations

import numpy as np
from support.streams import Source

from ce_detect.monitor.drift import Drift

LIMIT = 4e6


def fed(source: Source, count: int, shift: float) -> tuple[bool, Drift]:
    """Whether a stream with all scores moved is drift."""
    drift = Drift.of(source.reference, LIMIT, "rate")
    return drift.feed(source.verdicts(count, shift=shift).p_value, source.reference), drift


def test_moved_scores_are_drift_and_others_are_not() -> None:
    """In either direction, where people would not see it: no input exceeds the threshold more often than before."""
    for shift, expected in ((0.0, False), (0.2, True), (-0.2, True)):
        assert fed(Source(3), 20_000, shift)[0] is expected, shift


def test_it_does_not_matter_how_the_stream_is_cut() -> None:
    """One by one or all at once leaves the same evidence."""
    source = Source(3)
    p_values = source.verdicts(1000, shift=0.1).p_value
    whole, single = (Drift.of(source.reference, LIMIT, "rate") for _ in range(2))
    whole.feed(p_values, source.reference)
    for value in p_values:
        single.feed(np.array([value]), source.reference)
    np.testing.assert_array_equal(whole.evidence.money, single.evidence.money)
    assert (whole.hits, whole.count, whole.block) == (single.hits, single.count, single.block)


def test_attacks_that_are_flagged_are_no_drift() -> None:
    """A campaign of a tenth of all inputs says nothing of the others."""
    source = Source(3)
    drift = Drift.of(source.reference, LIMIT, "rate")
    assert not drift.feed(source.verdicts(20_000, attacked=0.1).p_value, source.reference)
    assert not drift.suspected


def test_drift_that_is_smaller_than_a_calibration_knows_is_told_in_time() -> None:
    """A shift of six percent lies within the bounds of 600 clean scores; what came before tells it."""
    source = Source(3)
    drift = Drift.of(source.reference, LIMIT, "rate")
    assert not drift.feed(source.verdicts(20_000).p_value, source.reference)
    assert drift.feed(source.verdicts(60_000, shift=0.06).p_value, source.reference)
