"""Checks for masked gradients: signs that an attack failed for a reason an attacker would work around.

After Athalye et al. 2018 (arXiv 1802.00420, section 3.1) and Tramer et al. 2020 (arXiv 2002.08347).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ce_detect.core.types import Progress
from ce_detect.redteam import hopskipjump, square
from ce_detect.redteam.descent import Descent, slope
from ce_detect.redteam.radii import Case, evades, union
from ce_detect.redteam.settings import Plan
from ce_detect.redteam.target import Target

SLACK = 0.02
"""Share of the images by which a check may fail: attacks with random or rounded steps lose one now and then."""


Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that would be suspicious if it failed.

    Attributes:
        name: what is checked.
        why: what a failure would mean.
        measured: figures by name.
        passed: the outcome.
    """

    name: str
    why: str
    measured: Mapping[str, float]
    passed: bool


def share_evading(
    target: Target, truth: Target, case: Case, reach: Tensor, attacks: tuple[Descent, ...], steps: int, plan: Plan
) -> float:
    """Share of images that get through within ``reach``, by all of some attacks with so many steps."""
    best = union(target, case, reach, steps=steps, attacks=attacks, restarts=plan.restarts, seed=plan.seed)
    return float(evades(truth, case, best.x).float().mean())


def masking(
    target: Target, truth: Target, case: Case, reach: Tensor, *, radii_joint: Floats,
    attacks: tuple[Descent, ...], plan: Plan, progress: Progress | None,
) -> tuple[Check, ...]:  # fmt: skip
    """Check that the attack on a target is as strong as it looks.

    Args:
        target: what the attacker sees.
        truth: what decides.
        case: images and their labels.
        reach: median joint radius, for each image ``(n,)``, in pixel values.
        radii_joint: what the white-box attacks found ``(n,)``, in parts of the pixel range.
        attacks: the white-box attacks.
        plan: what the red team may do.
        progress: called after each check.
    """
    todo: tuple[Callable[[], Check], ...] = (
        lambda: _more_steps(target, truth, case, reach, attacks, plan),
        lambda: _black_box(truth, case, reach, radii_joint, plan),
        lambda: _large(target, truth, case, attacks, plan),
        lambda: _gradients(target, case),
    )
    made = []
    for done, make in enumerate(todo):
        made.append(make())
        if progress is not None:
            progress("checks for masked gradients", done + 1, len(todo))
    return tuple(made)


def _more_steps(
    target: Target, truth: Target, case: Case, reach: Tensor, attacks: tuple[Descent, ...], plan: Plan
) -> Check:
    counts = sorted({max(1, plan.steps // 10), max(1, plan.steps // 3), plan.steps})
    shares = [share_evading(target, truth, case, reach, attacks, count, plan) for count in counts]
    passed = all(after >= before - SLACK for before, after in itertools.pairwise(shares))
    return Check(
        "more steps never weaken the attack",
        "gradients would lead away from what they are followed for",
        {f"{count} steps": share for count, share in zip(counts, shares, strict=True)},
        passed,
    )


def _black_box(truth: Target, case: Case, reach: Tensor, radii_joint: Floats, plan: Plan) -> Check:
    """Black-box attacks within the median joint radius, on the images that each can afford."""
    level, width = float(reach[0]), truth.bounds[1] - truth.bounds[0]
    generator = torch.Generator().manual_seed(plan.seed)
    by_score = square.square(
        truth, case.x, case.labels, reach, queries=plan.queries, generator=generator
    ).evaded.numpy()  # fmt: skip
    white = radii_joint * width <= level * (1 + 1e-6)
    measured = {"white-box": float(white.mean()), square.NAME: float(by_score.mean())}
    passed = measured[square.NAME] <= measured["white-box"] + SLACK
    if plan.decisions:
        some = case.at(torch.arange(min(plan.decisions, len(case))))
        distances = hopskipjump.hopskipjump(truth, some.x, some.labels, seed=plan.seed).numpy()
        by_decision = distances <= level * (1 + 1e-6)
        measured[f"white-box, first {len(some)}"] = float(white[: len(some)].mean())
        measured[f"{hopskipjump.NAME}, first {len(some)}"] = float(by_decision.mean())
        passed &= bool(by_decision.mean() <= white[: len(some)].mean() + SLACK)
    return Check(
        "black-box attacks never beat white-box ones",
        "gradients would hide what a search without them finds",
        measured,
        passed,
    )


def _large(target: Target, truth: Target, case: Case, attacks: tuple[Descent, ...], plan: Plan) -> Check:
    width = truth.bounds[1] - truth.bounds[0]
    share = share_evading(target, truth, case, torch.full((len(case),), width / 2), attacks, plan.steps, plan)
    return Check(
        "half of the pixel range is always enough",
        "who may paint almost any other image over the clean one must get through; if not, the attack is weak",
        {"share": share},
        share >= 1 - SLACK,
    )


def _gradients(target: Target, case: Case) -> Check:
    found = []
    for rows in torch.arange(len(case)).split(32):
        leaf = case.x[rows].clone().requires_grad_()
        with torch.enable_grad():
            gradient = slope(target.joint(leaf).score, leaf)
        found.append(gradient.flatten(1).abs().amax(1))
    sizes = torch.cat(found)
    share = float((sizes.isfinite() & (sizes > 0)).float().mean())
    return Check(
        "the detector has a gradient on clean images",
        "an attack would have nothing to follow",
        {"share": share},
        share >= 1 - SLACK,
    )
