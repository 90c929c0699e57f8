"""Targets of adaptive attacks: detectors of which the truth is known, and a calibrated gate."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ce_detect.data import load_data
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.interventions import Intervention
from ce_detect.redteam.radii import Case
from ce_detect.redteam.red_team import RedTeam, redteam
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.settings import Plan
from ce_detect.redteam.target import Alone, Gated, Joint, Target
from support.calibrated import guard

EPS = 6 / 255

PLAN = Plan(least=0.01, most=0.2, steps=8, queries=30, decisions=0, within=(0.1,))


class Line:
    """Two classes and a score that are linear in the mean pixel: every attack can be told what it finds."""

    threshold = 0.5
    bounds = (0.0, 1.0)

    def joint(self, x: Tensor) -> Joint:
        """Class 1 above a mean of 0.5; the score is the mean."""
        mean = x.mean((1, 2, 3))
        return Joint(torch.stack([0.5 - mean, mean - 0.5], 1), mean)


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


def gate_with(*interventions: Intervention) -> GateModule:
    """The calibrated gate's head on a signature with other interventions in the place of its own."""
    gate = guard().gate
    signature = Signature(gate.signature.classifier, list(interventions), sites=gate.signature.statistics.sites)
    return GateModule(signature, gate.head, clean_scores=gate.clean_scores, threshold=0.0, prevalence=0.1).eval()


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
    plan = Plan(least=1 / 255, most=32 / 255, steps=6, queries=20, decisions=0, within=(8 / 255,))
    x = load_data("demo").x[300:310]
    return redteam(Gated(gate), Alone(gate.signature.classifier), x, plan, attacks=(Selective(),), examples=3)
