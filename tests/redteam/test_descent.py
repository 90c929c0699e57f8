"""Projected gradient descent: bounds, goals, and examples that are what they say they are."""

from __future__ import annotations

import pytest
import torch
from support.calibrated import guard
from support.targets import case, gated, reach

from ce_detect.redteam.descent import Best, Descent, descend, project
from ce_detect.redteam.radii import WHITE_BOX


@pytest.mark.parametrize("attack", WHITE_BOX, ids=lambda attack: attack.name)
def test_perturbations_stay_within_eps_and_bounds(attack: Descent) -> None:
    """No image moves further than its own bound, nor out of the pixel range."""
    some, eps = case(), torch.linspace(0.5, 8, 12) / 255
    best = descend(attack, gated(), some.x, some.labels, eps, steps=6, anchors=some.anchors)
    change = (best.x - some.x).abs().amax((1, 2, 3))
    assert (change <= eps + 1e-6).all()
    assert (change > 0).any()
    assert best.x.min() >= 0
    assert best.x.max() <= 1


@pytest.mark.parametrize("attack", WHITE_BOX, ids=lambda attack: attack.name)
def test_what_says_that_it_evades_does(attack: Descent) -> None:
    """The kept example fools the classifier and passes the gate where the attack says so, and not elsewhere."""
    some = case()
    best = descend(attack, gated(), some.x, some.labels, reach(eps=10 / 255), steps=15, anchors=some.anchors)
    result = guard()(best.x)
    assert torch.equal(best.evaded, (result.label != some.labels) & ~result.is_adversarial)
    assert best.evaded.any()


def test_attack_without_a_goal_goes_on_to_lower_scores() -> None:
    """With an infinite goal, an image that passes already is pushed further below the threshold."""
    some = case()
    first, further = (
        descend(
            WHITE_BOX[0], gated(), some.x, some.labels, reach(eps=10 / 255), steps=15, anchors=some.anchors, goal=goal
        )
        for goal in (0.0, torch.inf)
    )
    both = first.evaded & further.evaded
    assert both.any()
    assert further.excess[both].mean() < first.excess[both].mean() - 0.1


def test_best_prefers_fooling_then_the_lower_score() -> None:
    """An example that fools is never given up for one that does not, nor for one with a higher score."""
    best = Best.none(torch.zeros(1, 1, 1, 1))
    row, offers = torch.tensor([0]), [(2.0, 0.0), (-1.0, 3.0), (1.0, -5.0), (-0.1, 4.0), (-0.1, 2.0)]
    kept = []
    for position, (short, excess) in enumerate(offers):
        x = torch.full((1, 1, 1, 1), float(position))
        best.offer(row, x, torch.tensor([short]), torch.tensor([excess]))
        kept.append(int(best.x.item()))
    assert kept == [0, 1, 1, 1, 4]


def test_projection_reaches_both_limits() -> None:
    """What is too far comes back to the bound, and what leaves the pixel range to its end."""
    clean = torch.tensor([0.05, 0.5]).view(2, 1, 1, 1)
    found = project(clean + torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1), clean, torch.tensor([0.1, 0.1]), (0.0, 1.0))
    assert found.flatten().tolist() == pytest.approx([0.0, 0.6])
