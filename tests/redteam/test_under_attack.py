"""How well scores tell clean from attacked images when the attacker lowers them, where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.targets import PLAN, Mean, gated, grey, images

from ce_detect.core.errors import UsageError
from ce_detect.redteam.descent import descend
from ce_detect.redteam.gradient_masking import Trial
from ce_detect.redteam.radii import WHITE_BOX, Case, judged
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.settings import Plan
from ce_detect.redteam.target import Target, margin
from ce_detect.redteam.under_attack import UnderAttack, under_attack


def within(target: Target, eps: float, **changes: object) -> UnderAttack:
    """Figures of grey images within one bound, by one attack."""
    plan = replace(PLAN, within=(eps,), **changes)
    case = Case.of(target, torch.from_numpy(grey()))
    trial = Trial(target, target, case, (Selective(),), plan)
    (found,) = under_attack(trial, np.full(len(case), np.inf))
    return found


def test_a_wall_that_cannot_be_crossed_keeps_its_auroc() -> None:
    """Whoever fools the classifier scores above every clean image, as far as the attacker can go."""
    found = within(Mean(threshold=0.5, wall=1.0), 0.1)
    assert (found.fooled, found.flagged) == (1.0, 1.0)
    assert found.auroc is not None
    assert found.auroc.value == 1.0
    assert found.implied == 1.0


def test_a_wall_that_can_be_crossed_loses_it() -> None:
    """With room for it the score falls below that of all clean images, although the threshold is passed long before."""
    found = within(Mean(threshold=0.9, wall=0.05), 0.2)
    assert found.fooled == 1.0
    assert (found.flagged, found.implied) == (0.0, 0.0)
    assert found.auroc is not None
    assert found.auroc.low <= found.auroc.value <= 0.01


def test_where_nothing_fools_there_is_no_figure() -> None:
    """The boundary is farther away than the attacker may go."""
    found = within(Mean(threshold=0.5, wall=1.0), 0.01)
    assert (found.fooled, found.flagged, found.auroc, found.implied) == (0.0, None, None, 1.0)


def test_radii_that_are_known_count_too() -> None:
    """What the search for the smallest perturbation let through is not robust within a larger bound."""
    target = Mean(threshold=0.5, wall=1.0)
    case = Case.of(target, torch.from_numpy(grey()))
    trial = Trial(target, target, case, (Selective(),), replace(PLAN, within=(0.1,)))
    known = np.full(len(case), np.inf)
    known[:6] = 0.1
    (found,) = under_attack(trial, known)
    assert found.implied == pytest.approx(1 - 6 / len(case))


def test_what_is_flagged_untouched_is_not_implied_to_be_right() -> None:
    """A gate that flags everything finds every attack, and is no robust classifier."""
    found = within(Mean(threshold=-1.0), 0.1)
    assert found.flagged == 1.0
    assert found.implied == 0.0


def test_the_worst_of_all_attacks_counts() -> None:
    """On a calibrated gate no single attack finds lower scores than all of them together, and a restart never hurts."""
    target, x = gated(), images()
    case = Case.of(target, x)
    plan = Plan(steps=6, within=(8 / 255,), decisions=0)
    (every,) = under_attack(Trial(target, target, case, WHITE_BOX, plan), np.full(len(x), np.inf))
    (again,) = under_attack(Trial(target, target, case, WHITE_BOX, replace(plan, restarts=1)), np.full(len(x), np.inf))
    (one,) = under_attack(Trial(target, target, case, WHITE_BOX[:1], plan), np.full(len(x), np.inf))
    assert every.auroc is not None
    assert one.auroc is not None
    assert again.auroc is not None
    assert every.fooled >= one.fooled
    assert again.auroc.value <= every.auroc.value <= one.auroc.value


def test_lower_scores_than_an_attack_that_stops_at_the_threshold() -> None:
    """It goes on below the threshold, so that every threshold counts."""
    target, x = gated(), images()
    case, eps = Case.of(target, x), 16 / 255
    stops = descend(
        Selective(), target, x, case.labels, torch.full((len(x),), eps), steps=6, anchors=case.anchors, goal=0.0
    )
    trial = Trial(target, target, case, (Selective(),), Plan(steps=6, within=(eps,), decisions=0))
    (found,) = under_attack(trial, np.full(len(x), np.inf))
    fooled = margin(judged(target, stops.x).logits, case.labels) < 0
    assert found.auroc is not None
    assert found.auroc.value < float(
        (stops.excess[fooled] + target.threshold > judged(target, x).score.min()).float().mean()
    )
    assert target.threshold == gated().threshold


@pytest.mark.parametrize("eps", [0.0, -1.0, 2.0])
def test_a_bound_outside_the_pixel_range_is_refused(eps: float) -> None:
    """It names what was passed."""
    with pytest.raises(UsageError, match=f"a bound of {eps:g}"):
        Plan(within=(eps,))
