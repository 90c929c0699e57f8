"""Adaptive attacks: bounds, budgets, and examples that are what they say they are."""

from __future__ import annotations

import pytest
import torch
from support.calibrated import guard
from torch import Tensor

from ce_detect.data import load_data
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.heads.base import Head
from ce_detect.interventions import BitDepth, Flip, GaussianNoise, Intervention
from ce_detect.redteam.bpda import StraightThrough, blind_interventions, needs_help
from ce_detect.redteam.descent import Best, Descent, descend, project, slope
from ce_detect.redteam.expectation import Expectation, random_interventions, reseeded
from ce_detect.redteam.hopskipjump import SETTINGS, hopskipjump
from ce_detect.redteam.logit_matching import anchors
from ce_detect.redteam.radii import WHITE_BOX, Case, evades, judged, radii, union
from ce_detect.redteam.square import square
from ce_detect.redteam.target import Alone, Gated, Joint, Target, margin

EPS = 6 / 255


def images(count: int = 12) -> Tensor:
    """Images that the calibration of `calibrated.guard` did not see."""
    return torch.from_numpy(load_data("demo").x[300 : 300 + count])


def gated() -> Gated:
    """The calibrated gate as a target."""
    return Gated(guard().gate)


def case(count: int = 12) -> Case:
    """Images, to be moved away from their labels."""
    return Case.of(gated(), images(count))


def reach(count: int = 12, eps: float = EPS) -> Tensor:
    """The same bound for every image."""
    return torch.full((count,), eps)


def gate_with(*interventions: Intervention, head: Head | None = None) -> GateModule:
    """The calibrated gate's head on a signature with other interventions in the place of its own."""
    gate = guard().gate
    signature = Signature(gate.signature.classifier, list(interventions), sites=gate.signature.statistics.sites)
    return GateModule(
        signature, head or gate.head, clean_scores=gate.clean_scores, threshold=0.0, prevalence=0.1
    ).eval()


class Line:
    """Two classes and a score that are linear in the mean pixel: every attack can be told what it finds."""

    threshold = 0.5
    bounds = (0.0, 1.0)

    def joint(self, x: Tensor) -> Joint:
        """Class 1 above a mean of 0.5; the score is the mean."""
        mean = x.mean((1, 2, 3))
        return Joint(torch.stack([0.5 - mean, mean - 0.5], 1), mean)


# ---- white box


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


def test_more_steps_are_never_weaker() -> None:
    """All attacks together get at least as many images through with more steps."""
    some = case(16)
    shares = [union(gated(), some, reach(16), steps=steps).evaded.float().mean() for steps in (2, 8, 25)]
    assert shares[0] <= shares[1] <= shares[2]
    assert shares[0] < shares[2]


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


def test_same_attack_same_bytes() -> None:
    """Two runs with one seed give the same images, also with random restarts."""
    some = case(6)
    first, second = (union(gated(), some, reach(6), steps=4, restarts=1, seed=3).x for _ in range(2))
    assert torch.equal(first, second)


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


def test_margin_is_negative_where_another_logit_is_larger() -> None:
    """The margin has the sign of the decision and the size of the gap."""
    assert margin(torch.tensor([[3.0, 1.0, 0.0], [1.0, 4.0, 0.0]]), torch.tensor([0, 0])).tolist() == [2.0, -3.0]


def test_anchors_have_another_label() -> None:
    """The logits to be matched are those of the nearest image of another class."""
    logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 9.0]])
    assert torch.equal(anchors(logits, logits.argmax(1))[:2], logits[[2, 2]])


# ---- smallest perturbations


def test_radii_of_a_line() -> None:
    """The smallest level that moves the mean across the boundary is found, and infinity where none does."""

    class Passing(Line):
        threshold = 2.0

    x = torch.tensor([0.45, 0.3, 0.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    levels = torch.linspace(0.02, 0.3, 15).double().numpy()
    found, through = radii(Passing(), Case.of(Passing(), x), levels, steps=10)
    assert found.tolist() == pytest.approx([0.06, 0.22, float("inf")], abs=1e-6)
    assert (through[:2].mean((1, 2, 3)) > 0.5).all()
    assert torch.equal(through[2], x[2])


def test_radii_behind_a_gate_are_not_smaller() -> None:
    """Whatever passes the gate fools the classifier too; levels in between are not skipped."""
    some, levels, attacks = case(8), torch.linspace(2, 24, 12).double().numpy() / 255, WHITE_BOX[:1]
    alone, _ = radii(Alone(guard().classifier), some, levels, steps=10, attacks=attacks)
    joint, through = radii(gated(), some, levels, steps=10, attacks=attacks)
    assert (joint >= alone - 2.01 / 255).all()
    assert evades(gated(), some, through)[torch.from_numpy(joint < 1)].all()


# ---- black box


def test_square_evades_within_eps() -> None:
    """Random search finds something, within the bound, and is right about it."""
    some = case()
    best = square(
        gated(), some.x, some.labels, reach(eps=30 / 255), queries=60, generator=torch.Generator().manual_seed(0)
    )
    assert best.evaded.any()
    assert torch.equal(best.evaded, evades(gated(), some, best.x))
    assert ((best.x - some.x).abs() <= 30 / 255 + 1e-6).all()


def test_hopskipjump_finds_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """From an image of another class that passes, it comes closer than that image is, by decisions alone."""
    for setting, value in {"max_iter": 2, "max_eval": 40, "init_eval": 10}.items():
        monkeypatch.setitem(SETTINGS, setting, value)
    some = case(6)
    found = hopskipjump(gated(), some.x, some.labels, seed=0)
    others = [
        (some.x[some.labels != label] - x).abs().amax((1, 2, 3)).min()
        for x, label in zip(some.x, some.labels, strict=True)
    ]
    assert (found < torch.stack(others)).sum() >= 4


# ---- what has no gradient


class Steps(Head):
    """A head without a gradient, as a tree ensemble is one: it counts on how many features an image is unusual."""

    differentiable = False

    def forward(self, features: Tensor) -> Tensor:
        """Return scores ``(batch,)``."""
        return (self.squash(features).abs() > 1.5).float().sum(1)


def test_bpda_gives_a_gradient_where_a_head_has_none() -> None:
    """Behind a head of steps the score has no gradient; the imitation lends one, and the score stays exact."""
    head = guard().gate.head
    gate = gate_with(Flip(), head=Steps(head.center, head.scale))
    x = images().requires_grad_()
    plain, helped = Gated(gate).joint(x).score, StraightThrough(gate, images()).joint(x).score
    assert needs_help(gate, images(1))
    assert slope(plain, x).abs().sum() == 0
    assert slope(helped, x).abs().amax((1, 2, 3)).min() > 0
    assert torch.allclose(plain, helped, atol=1e-4)


def test_bpda_passes_a_blind_intervention(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intervention that rounds without a gradient gets that of leaving the image alone; its outcome stays."""
    assert not blind_interventions(gate_with(BitDepth(bits=2)), images(1))
    monkeypatch.setattr(BitDepth, "forward", lambda _, h: torch.round(h * 3) / 3)
    gate = gate_with(BitDepth(bits=2))
    x = images(4).requires_grad_()
    helped = StraightThrough(gate, images(4))
    assert [type(module) for module in helped.blind] == [BitDepth]
    assert torch.allclose(helped.joint(x).score, Gated(gate).joint(x).score, atol=1e-4)
    assert not torch.allclose(slope(helped.joint(x).score, x), slope(Gated(gate).joint(x).score, x))
    assert not gate.signature.interventions[0]._forward_hooks


# ---- what is random


def noisy() -> GateModule:
    """A gate with noise from a seed."""
    return gate_with(GaussianNoise(sigma=0.2, draws=1, seed=7, channels=1, side=28))


def test_reseeded_gate_draws_something_else() -> None:
    """Another seed gives other scores of the same images, the same seed the same; logits stay."""
    gate, x = noisy(), images(4)
    first, again, other = (judged(Gated(reseeded(gate, seed)), x) for seed in (7, 7, 8))
    assert random_interventions(gate)
    assert torch.equal(first.score, again.score)
    assert torch.equal(first.logits, other.logits)
    assert not torch.allclose(first.score, other.score, atol=1e-3)


def test_expectation_is_more_careful_than_a_draw() -> None:
    """The score that the attacker brings below the threshold is above the mean over seeds, and has a gradient."""
    gate, x = noisy(), images(4).requires_grad_()
    target = Expectation(gate, draws=3)
    mean = torch.stack([Gated(one).joint(x).score for one in target.gates]).mean(0)
    score = target.joint(x).score
    assert (score > mean).all()
    assert slope(score, x).abs().amax((1, 2, 3)).min() > 0


def test_everything_takes_a_target_of_ones_own() -> None:
    """A detector that is not ours is attacked through the same protocol."""
    target: Target = Line()
    some = Case.of(target, torch.full((2, 1, 4, 4), 0.45))
    best = union(target, some, torch.full((2,), 0.2), steps=5)
    assert best.fooled.all()
    assert not best.evaded.any()
