"""A gate with a secret seed."""

from __future__ import annotations

import torch
from support.targets import gate_with, images

from ce_detect.detector.gate import GateModule
from ce_detect.interventions import GaussianNoise
from ce_detect.redteam.descent import slope
from ce_detect.redteam.expectation import Expectation, random_interventions, reseeded
from ce_detect.redteam.radii import judged
from ce_detect.redteam.target import Gated


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
