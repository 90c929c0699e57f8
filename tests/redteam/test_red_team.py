"""The red team's figures and its report card, on detectors of which the truth is known and on a calibrated gate."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.calibrated import guard
from torch import Tensor

from ce_detect.core.errors import UsageError
from ce_detect.data import load_data
from ce_detect.redteam.red_team import RedTeam, redteam
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.settings import RESOLUTION, Plan, fraction
from ce_detect.redteam.target import Alone, Gated, Joint, Target
from ce_detect.reporting import red_team_card as cards

PLAN = Plan(least=0.01, most=0.2, steps=8, queries=30, decisions=0)


class Mean:
    """Class 1 above a mean pixel of 0.5, and a score that is how far the mean is beyond it."""

    bounds = (0.0, 1.0)

    def __init__(self, threshold: float = np.inf, *, wall: float = 0.0) -> None:
        self.threshold, self.wall = threshold, wall

    def joint(self, x: Tensor) -> Joint:
        """Score 1 just above the boundary and falling behind it, over a width of ``wall``."""
        over = x.mean((1, 2, 3)) - 0.5
        score = torch.where(over > 0, 1 - over / self.wall, over) if self.wall else over * 0
        return Joint(torch.stack([-over, over], 1), score)


class Flat(Mean):
    """A detector of steps: no gradient to follow, although there is a way through."""

    def joint(self, x: Tensor) -> Joint:
        """The same score, rounded."""
        logits, score = super().joint(x)
        return Joint(logits, (score * 4).round() / 4)


def grey() -> NDArray[np.float32]:
    """Images whose distance from the boundary is 0.02 to 0.08."""
    return np.linspace(0.42, 0.48, 24, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 4, 4), np.float32)


def attacked(target: Target, **settings: Any) -> RedTeam:
    """A quick run on grey images, by one attack."""
    return redteam(target, Mean(), grey(), PLAN, attacks=(Selective(),), **settings)


@functools.cache
def on_the_gate() -> RedTeam:
    """The red team on the calibrated gate, with its checks."""
    gate = guard().gate
    plan = Plan(least=1 / 255, most=32 / 255, steps=6, queries=20, decisions=0)
    x = load_data("demo").x[300:310]
    return redteam(Gated(gate), Alone(gate.signature.classifier), x, plan, attacks=(Selective(),))


# ---- figures


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


def test_ratio_is_a_lower_bound_where_half_never_get_through() -> None:
    """Beyond the largest perturbation nothing is known, and the report says so."""
    report = attacked(Mean(threshold=0.0, wall=0.9), check=False)
    assert report.ratio_is_bound
    assert report.radii_joint == (None,) * 24
    assert report.ratio.value == pytest.approx(PLAN.most / report.radius_alone.value)


def test_curves_rise_and_the_joint_one_lies_below() -> None:
    """A larger bound never lets fewer images through, nor does the gate let through more than fool the classifier."""
    report = on_the_gate()
    assert all(before <= after for curve in (report.fooled, report.evaded) for before, after in pairwise(curve))
    assert report.evaded[-1] >= 0.8
    assert np.mean(np.array(report.fooled) - np.array(report.evaded)) >= 0


def test_the_detector_beside_the_gate_judges_what_got_through() -> None:
    """Its share of the inputs that evade, at their smallest perturbation; nothing where it, or a way through, lacks."""
    target, gate = Mean(threshold=0.5, wall=0.1), guard().gate
    assert attacked(target, check=False).clean_only is None
    assert attacked(target, check=False, beside=Mean(threshold=-1.0)).clean_only == 1.0
    assert attacked(target, check=False, beside=Mean(threshold=1.0)).clean_only == 0.0
    assert attacked(Mean(threshold=0.0, wall=0.9), check=False, beside=Mean(threshold=-1.0)).clean_only is None
    x = torch.from_numpy(load_data("demo").x[300:310])
    assert gate.clean_only is not None
    score = Gated(gate, gate.clean_only).joint(x).score
    torch.testing.assert_close(score, gate.clean_only.verdict(*gate.signature(x)).score)


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


# ---- checks for masked gradients


def test_checks_pass_on_an_honest_detector() -> None:
    """A smooth score hides nothing: every check passes on it."""
    report = attacked(Mean(threshold=0.5, wall=0.1))
    assert len(report.checks) == 4
    assert [check.name for check in report.checks if not check.passed] == []
    assert set(report.by_attack) == {"selective-pgd"}


def test_checks_fail_on_a_detector_of_steps() -> None:
    """Rounded scores leave gradient descent without direction, and black-box search says so."""
    report = attacked(Flat(threshold=0.5, wall=0.1))
    assert any(not check.passed for check in report.checks)
    assert not report.checks[-1].passed


# ---- plan


def test_levels_are_no_further_apart_than_they_claim() -> None:
    """Levels go from the smallest to the largest bound in equal ratios."""
    levels = Plan().levels
    assert levels[0] == pytest.approx(0.25 / 255)
    assert levels[-1] == pytest.approx(16 / 255)
    assert (levels[1:] / levels[:-1]).max() <= RESOLUTION


@pytest.mark.parametrize(("least", "most"), [(0.1, 0.1), (0.0, 0.1), (0.1, 1.5)])
def test_senseless_bounds_are_refused(least: float, most: float) -> None:
    """A plan needs a smaller and a larger bound within the pixel range."""
    with pytest.raises(UsageError, match="pixel range"):
        Plan(least=least, most=most)


def test_fractions() -> None:
    """Lengths are read as in recipes."""
    assert fraction("8/255") == pytest.approx(8 / 255)
    with pytest.raises(UsageError, match="positive"):
        fraction("-1/255")


# ---- front door


def test_secret_seeds_of_a_gate_without_any_are_refused() -> None:
    """A gate in which nothing is random has no seed to hide."""
    with pytest.raises(UsageError, match="random"):
        guard().redteam(load_data("demo").x[300:302], plan=PLAN, secret_seeds=True)


# ---- report card


def card(bar: float | None = None, **changes: Any) -> dict[str, Any]:
    """A report card of the calibrated gate."""
    return cards.card(replace(on_the_gate(), **changes), guard().manifest, artifact="guard <1>", bar=bar)


def test_bar_decides() -> None:
    """The card passes at a bar that the ratio reaches, and fails above it."""
    ratio = on_the_gate().ratio.value
    checks = {"checks": ()}
    assert card(bar=ratio * 0.99, **checks)["passed"]
    assert not card(bar=ratio * 1.01, **checks)["passed"]
    assert card(**checks)["passed"]


def test_failed_check_fails_the_card() -> None:
    """A ratio from an attack that does not work is worth nothing, however large."""
    failed = replace(on_the_gate().checks[0], passed=False)
    assert not card(bar=0.1, checks=(failed,))["passed"]


def test_page_has_no_script_and_nothing_from_elsewhere() -> None:
    """One file that executes nothing and loads nothing; names are escaped."""
    page = cards.html(card(bar=1.5))
    assert "<script" not in page
    assert not re.search(r"\b(src|href|url\()\s*=?", page)
    assert "http" not in page
    assert "guard &lt;1&gt;" in page
    assert "<svg" in page


def test_page_has_every_figure_of_the_card() -> None:
    """Whatever number is in the JSON can be read in the page."""
    made = json.loads(json.dumps(card(bar=1.5)))
    page = cards.html(made)

    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [number for inner in value.values() for number in numbers(inner)]
        if isinstance(value, list):
            return [number for inner in value for number in numbers(inner)]
        return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []

    found = numbers(made)
    assert len(found) > 100
    assert [number for number in found if str(number) not in page] == []


def test_page_says_which_way_it_went() -> None:
    """The verdict stands at the top in words."""
    assert "Passed." in cards.html(card(bar=0.1, checks=()))
    without = cards.html(card(checks=()))
    assert "Measured." in without
    assert "Passed." not in without
    failed = cards.html(card(bar=1000, ratio_is_bound=True))
    assert "Failed." in failed
    assert "at least" in failed
