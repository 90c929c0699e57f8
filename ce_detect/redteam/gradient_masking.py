"""Checks for masked gradients: signs that an attack failed for a reason an attacker would work around.

After Athalye et al. 2018 (arXiv 1802.00420, section 3.1) and Tramer et al. 2020 (arXiv 2002.08347).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ce_detect.core.types import Progress
from ce_detect.redteam import hopskipjump, square
from ce_detect.redteam.descent import BATCH, Descent, slope
from ce_detect.redteam.radii import Case, evades, union
from ce_detect.redteam.settings import Plan, Sizes
from ce_detect.redteam.target import Target

SLACK = 0.02
"""Share of the images by which a check may fail: attacks with random or rounded steps lose one now and then."""


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


@dataclass(frozen=True, slots=True)
class Trial:
    """Who attacks what.

    Attributes:
        target: what the attacker sees.
        truth: what decides.
        case: images and their labels.
        attacks: the white-box attacks.
        plan: what the red team may do.
    """

    target: Target
    truth: Target
    case: Case
    attacks: tuple[Descent, ...]
    plan: Plan

    @property
    def width(self) -> float:
        """The pixel range."""
        low, high = self.truth.bounds
        return high - low

    def share(self, reach: float, *, attacks: tuple[Descent, ...] | None = None, steps: int | None = None) -> float:
        """Share of images that get through within ``reach``, in pixel values.

        Args:
            reach: largest change of a pixel.
            attacks: all of these, by default those of the trial.
            steps: gradient steps of each, by default those of the plan.
        """
        best = union(
            self.target, self.case, torch.full((len(self.case),), reach), steps=steps or self.plan.steps,
            attacks=attacks or self.attacks, restarts=self.plan.restarts, seed=self.plan.seed,
        )  # fmt: skip
        return float(evades(self.truth, self.case, best.x).float().mean())


def checks(trial: Trial, reach: float, *, radii_joint: Sizes, progress: Progress | None = None) -> tuple[Check, ...]:
    """Check that the attack on a target is as strong as it looks.

    Args:
        trial: who attacks what.
        reach: median joint radius, in pixel values.
        radii_joint: what the white-box attacks found ``(n,)``, in parts of the pixel range.
        progress: called after each check.
    """
    todo: tuple[Callable[[], Check], ...] = (
        lambda: _more_steps(trial, reach),
        lambda: _black_box(trial, reach, radii_joint),
        lambda: _large(trial),
        lambda: _gradients(trial),
    )
    made = []
    for done, make in enumerate(todo):
        made.append(make())
        if progress is not None:
            progress("checks for masked gradients", done + 1, len(todo))
    return tuple(made)


def _more_steps(trial: Trial, reach: float) -> Check:
    most = trial.plan.steps
    counts = sorted({max(1, most // 10), max(1, most // 3), most})
    shares = [trial.share(reach, steps=count) for count in counts]
    return Check(
        "more steps never weaken the attack",
        "gradients would lead away from what they are followed for",
        {f"{count} steps": share for count, share in zip(counts, shares, strict=True)},
        all(after >= before - SLACK for before, after in itertools.pairwise(shares)),
    )


def _black_box(trial: Trial, reach: float, radii_joint: Sizes) -> Check:
    """Black-box attacks within the median joint radius, on the images that each can afford."""
    case, plan = trial.case, trial.plan
    within = reach * (1 + 1e-6)
    generator = torch.Generator().manual_seed(plan.seed)
    by_score = square.square(
        trial.truth, case.x, case.labels, torch.full((len(case),), reach), queries=plan.queries, generator=generator
    )
    white = radii_joint * trial.width <= within
    measured = {"white-box": float(white.mean()), square.NAME: float(by_score.evaded.numpy().mean())}
    passed = measured[square.NAME] <= measured["white-box"] + SLACK
    if plan.decisions:
        some = case.at(torch.arange(min(plan.decisions, len(case))))
        distances = hopskipjump.hopskipjump(trial.truth, some.x, some.labels, seed=plan.seed).numpy()
        first, by_decision = float(white[: len(some)].mean()), float((distances <= within).mean())
        measured[f"white-box, first {len(some)}"] = first
        measured[f"{hopskipjump.NAME}, first {len(some)}"] = by_decision
        passed &= by_decision <= first + SLACK
    return Check(
        "black-box attacks never beat white-box ones",
        "gradients would hide what a search without them finds",
        measured,
        passed,
    )


def _large(trial: Trial) -> Check:
    share = trial.share(trial.width / 2)
    return Check(
        "half of the pixel range is always enough",
        "who may paint almost any other image over the clean one must get through; if not, the attack is weak",
        {"share": share},
        share >= 1 - SLACK,
    )


def _gradients(trial: Trial) -> Check:
    found = []
    for x in trial.case.x.split(BATCH):
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            gradient = slope(trial.target.joint(leaf).score, leaf)
        found.append(gradient.flatten(1).abs().amax(1))
    sizes = torch.cat(found)
    share = float((sizes.isfinite() & (sizes > 0)).float().mean())
    return Check(
        "the detector has a gradient on clean images",
        "an attack would have nothing to follow",
        {"share": share},
        share >= 1 - SLACK,
    )
