"""The red team's figures, on detectors of which the truth is known and on a calibrated gate."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.calibrated import guard
from support.targets import PLAN, Mean, attacked, grey, on_the_gate

from ce_detect.core.errors import UsageError
from ce_detect.data import load_data
from ce_detect.redteam.red_team import RedTeam, redteam
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.settings import RESOLUTION


def test_ratio_is_one_for_a_gate_that_flags_nothing() -> None:
    """What passes everything costs the attacker nothing."""
    report = attacked(Mean(), check=False)
    assert (report.ratio.value, report.ratio.low, report.ratio.high) == (1.0, 1.0, 1.0)
    assert report.fooled == report.evaded
    assert report.flagged_clean == 0


def test_radii_and_ratio_are_what_they_should_be() -> None:
    """Half of the images are 0.05 from the boundary; to pass they must go 0.05 further: a ratio of 2."""
    report = attacked(Mean(threshold=0.5, wall=0.1), check=False)
    assert report.radius_alone.value == pytest.approx(0.05, rel=RESOLUTION - 1)
    assert report.radius_joint.value == pytest.approx(0.10, rel=RESOLUTION - 1)
    assert 1.6 < report.ratio.value < 2.4
    assert report.ratio.low <= report.ratio.value <= report.ratio.high
    assert not report.ratio_is_bound


def test_one_image_has_a_ratio_and_no_width_around_it() -> None:
    """There is nothing to redraw, so the interval is the figure itself."""
    report = redteam(Mean(threshold=0.5, wall=0.1), Mean(), grey()[:1], PLAN, attacks=(Selective(),), check=False)
    assert report.ratio.low == report.ratio.value == report.ratio.high > 1


def test_ratio_is_a_lower_bound_where_half_never_get_through() -> None:
    """Beyond the largest perturbation nothing is known, and the report says so."""
    report = attacked(Mean(threshold=0.0, wall=0.9), check=False)
    assert report.ratio_is_bound
    assert report.radii_joint == (None,) * 24
    assert report.ratio.value == pytest.approx(PLAN.most / report.radius_alone.value)


def test_radii_at_the_smallest_bound_censor_the_ratio() -> None:
    """More than a few of them, and the report says how many; half of them, and the ratio is a lower bound."""
    target = Mean(threshold=0.5, wall=0.1)

    def report(least: float) -> RedTeam:
        return redteam(target, Mean(), grey(), replace(PLAN, least=least), attacks=(Selective(),), check=False)

    assert report(0.01).censored == 0
    some, half = report(0.03), report(0.06)
    assert (some.censored, some.ratio_is_bound) == (some.fooled[0], False)
    assert 0.05 < some.censored < 0.5
    assert (half.censored, half.ratio_is_bound) == (half.fooled[0], True)
    assert 0.5 < half.censored < 1
    assert half.ratio.value < report(0.01).ratio.value


def test_curves_rise_and_the_joint_one_lies_below() -> None:
    """A larger bound never lets fewer images through, nor does the gate let through more than fool the classifier."""
    report = on_the_gate()
    assert all(before <= after for curve in (report.fooled, report.evaded) for before, after in pairwise(curve))
    assert report.evaded[-1] >= 0.8
    assert np.mean(np.array(report.fooled) - np.array(report.evaded)) >= 0


def test_the_detector_beside_the_gate_judges_what_got_through() -> None:
    """Its share of the inputs that evade, at their smallest perturbation; nothing where it, or a way through, lacks."""
    target = Mean(threshold=0.5, wall=0.1)
    assert attacked(target, check=False).clean_only is None
    assert attacked(target, check=False, beside=Mean(threshold=-1.0)).clean_only == 1.0
    assert attacked(target, check=False, beside=Mean(threshold=1.0)).clean_only == 0.0
    assert attacked(Mean(threshold=0.0, wall=0.9), check=False, beside=Mean(threshold=-1.0)).clean_only is None


def test_known_radii_of_the_classifier_are_taken() -> None:
    """Radii from an earlier run on the same images stand in for those of this one."""
    first = attacked(Mean(), check=False)
    known = np.array(first.radii_alone, dtype=float)
    report = attacked(Mean(threshold=0.5, wall=0.1), check=False, alone_radii=known)
    assert report.radii_alone == first.radii_alone


def test_same_seed_same_report() -> None:
    """Two runs agree in every figure."""
    first, second = (attacked(Mean(threshold=0.5, wall=0.1)).to_dict() for _ in range(2))
    assert first == second


def test_secret_seeds_of_a_gate_without_any_are_refused() -> None:
    """A gate in which nothing is random has no seed to hide."""
    with pytest.raises(UsageError, match="random"):
        guard().redteam(load_data("demo").x[300:302], plan=PLAN, secret_seeds=True)
