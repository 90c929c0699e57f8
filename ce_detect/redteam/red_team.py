"""Red team: how much a gate costs an attacker who knows all of it.

The headline is the *joint-evasion radius ratio*: the median smallest perturbation that fools classifier and gate, over
the median smallest that fools the classifier alone, found by the same attacks with the same steps. At 1.0 the gate
costs the attacker nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ce_detect.core.errors import UsageError
from ce_detect.core.progress import quiet
from ce_detect.core.types import Floats, Progress
from ce_detect.detector.gate import GateModule
from ce_detect.redteam import bpda, gradient_masking
from ce_detect.redteam.descent import Descent
from ce_detect.redteam.examples import PastTheGate, past_the_gate
from ce_detect.redteam.expectation import Expectation, random_interventions
from ce_detect.redteam.gradient_masking import Check, Trial
from ce_detect.redteam.interval import Interval, redrawn
from ce_detect.redteam.radii import WHITE_BOX, Case, judged, radii
from ce_detect.redteam.settings import Plan, Sizes
from ce_detect.redteam.target import Alone, Gated, Target
from ce_detect.redteam.under_attack import UnderAttack, treated, under_attack

FEW = 0.05
"""Share of the images that may fool the classifier at the smallest bound: they are known to be no larger than it."""


@dataclass(frozen=True, slots=True)
class RedTeam:
    """Figures of one target. Perturbations are in parts of the pixel range, in the maximum norm.

    Attributes:
        images: number of attacked images.
        threshold: score above which an input is flagged.
        flagged_clean: share of the images that is flagged before any attack.
        attacks: paper by name of the white-box attack.
        plan: what the red team was allowed.
        levels: bounds of the curves ``(levels,)``.
        fooled: share of images that fool the classifier alone within each bound.
        evaded: share of images that fool classifier and gate within each bound.
        radius_alone: median smallest perturbation that fools the classifier alone.
        radius_joint: the same for classifier and gate.
        ratio: of the two medians.
        ratio_is_bound: whether a median is beyond the bounds, so that the ratio is at least this: half of the images
            did not get through at all, or half fooled the classifier alone at the smallest bound.
        censored: share of images that fool the classifier alone at the smallest bound, where these are more than `FEW`:
            their radii are smaller, and nobody knows how much; else 0.
        radii_alone, radii_joint: for each image; None where no bound was enough.
        by_attack: share of images with which each attack gets through within the median joint radius.
        clean_only: share of what got through, at its smallest perturbation, that the detector beside the gate flags,
            which no attack taught and which this attacker does not attack; None where there is none.
        checks: on the attack itself.
        under_attack: how well scores tell clean from attacked images within each bound of the plan, then the same for
            each treatment that the attacker expects.
        examples: the first inputs that got through, as many as were asked for.
    """

    images: int
    threshold: float
    flagged_clean: float
    attacks: Mapping[str, str]
    plan: Plan
    levels: tuple[float, ...]
    fooled: tuple[float, ...]
    evaded: tuple[float, ...]
    radius_alone: Interval
    radius_joint: Interval
    ratio: Interval
    ratio_is_bound: bool
    censored: float
    radii_alone: tuple[float | None, ...]
    radii_joint: tuple[float | None, ...]
    by_attack: Mapping[str, float] = field(default_factory=dict)
    clean_only: float | None = None
    checks: tuple[Check, ...] = ()
    under_attack: tuple[UnderAttack, ...] = ()
    examples: tuple[PastTheGate, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the examples."""
        return {name: value for name, value in asdict(replace(self, examples=())).items() if name != "examples"}


def redteam_gate(
    gate: GateModule, x: Floats, plan: Plan, *, secret_seeds: bool = False, progress: Progress | None = None,
    examples: int = 0,
) -> RedTeam:  # fmt: skip
    """Attack a calibrated gate and its classifier, with help for whatever in it has no gradient.

    Args:
        gate: what is attacked.
        x: clean images ``(n, channels, height, width)`` that calibration did not see.
        plan: what the red team may do.
        secret_seeds: the attacker does not know the seeds of random interventions.
        progress: called now and then.
        examples: inputs that got through to keep.

    Raises:
        UsageError: secret seeds of a gate in which nothing is random.
    """
    images = torch.from_numpy(np.asarray(x, np.float32))
    target: Target = Gated(gate)
    if bpda.needs_help(gate, images[:1]):
        target = bpda.StraightThrough(gate, images)
    if secret_seeds:
        if not random_interventions(gate):
            raise UsageError("nothing in this gate is random, so there is no seed to keep secret")
        target = Expectation(gate)
    alone, truth = Alone(gate.signature.classifier), Gated(gate) if secret_seeds else None
    beside = None if gate.clean_only is None else Gated(gate, gate.clean_only)
    return redteam(target, alone, x, plan, truth=truth, beside=beside, progress=progress, examples=examples)


def redteam(
    target: Target, alone: Target, x: Floats, plan: Plan, *, truth: Target | None = None,
    beside: Target | None = None, alone_radii: Sizes | None = None, attacks: tuple[Descent, ...] = WHITE_BOX,
    check: bool = True, progress: Progress | None = None, examples: int = 0,
) -> RedTeam:  # fmt: skip
    """Attack classifier and detector together.

    Args:
        target: what the attacker sees: the gate itself, or a wrapper around it that gives gradients.
        alone: the classifier without the detector.
        x: clean images ``(n, channels, height, width)`` that calibration did not see.
        plan: what the red team may do.
        truth: what decides, where the attacker does not see all of it (a secret seed); by default the target.
        beside: a second detector, which is not attacked.
        alone_radii: radii of the classifier alone, where they are known from a run on the same images and plan.
        attacks: white-box attacks.
        check: whether to check the attack for masked gradients, which takes as long again.
        progress: called now and then.
        examples: inputs that got through to keep.
    """
    images = torch.from_numpy(np.asarray(x, np.float32))
    case = Case.of(alone, images)
    trial = Trial(target, truth or target, case, attacks, plan)
    if alone_radii is None:
        alone_radii, _ = _radii(Trial(alone, alone, case, attacks, plan), "classifier alone", None, progress)
    joint_radii, through = _radii(trial, "classifier and gate", alone_radii, progress)
    rows = np.flatnonzero(np.isfinite(joint_radii))
    kept = past_the_gate(trial, through, rows[:examples], joint_radii)
    through = through[torch.from_numpy(rows)]
    ends = _intervals(alone_radii, joint_radii, plan)
    fooled = _curve(alone_radii, plan.levels)
    by_attack, checks = _strength(trial, ends["joint"].value, joint_radii, progress) if check else ({}, ())
    return RedTeam(
        images=len(images),
        threshold=float(target.threshold),
        flagged_clean=_flagged(trial.truth, images),
        attacks={attack.name: attack.paper for attack in attacks},
        plan=plan,
        levels=tuple(map(float, plan.levels)),
        fooled=fooled,
        evaded=_curve(joint_radii, plan.levels),
        radius_alone=ends["alone"],
        radius_joint=ends["joint"],
        ratio=ends["ratio"],
        ratio_is_bound=bool(np.isinf(_median(joint_radii)) or fooled[0] >= 0.5),
        censored=fooled[0] if fooled[0] > FEW else 0.0,
        radii_alone=_plain(alone_radii),
        radii_joint=_plain(joint_radii),
        by_attack=by_attack,
        clean_only=None if beside is None or not len(through) else _flagged(beside, through),
        checks=checks,
        under_attack=_under_attack(trial, joint_radii, progress),
        examples=kept,
    )


def _radii(trial: Trial, what: str, near: Sizes | None, progress: Progress | None) -> tuple[Sizes, Tensor]:
    """Radii in parts of the pixel range, and what got through there; see `ce_detect.redteam.radii.radii`."""

    def report(done: float, total: float) -> None:
        if progress is not None:
            progress(f"smallest perturbations, {what}", done, total)

    plan, width = trial.plan, trial.width
    found, through = radii(
        trial.target, trial.case, plan.levels * width, steps=plan.steps, restarts=plan.restarts,
        attacks=trial.attacks, truth=None if trial.truth is trial.target else trial.truth, seed=plan.seed,
        near=None if near is None else near * width, report=report,
    )  # fmt: skip
    return found / width, through


def _under_attack(trial: Trial, joint_radii: Sizes, progress: Progress | None) -> tuple[UnderAttack, ...]:
    told = progress or quiet
    found = under_attack(trial, joint_radii, partial(told, "lowest scores within each bound"))
    for treatment in trial.plan.treatments:
        found += treated(trial, treatment, partial(told, f"lowest scores, then {treatment.name}"))
    return found


def _strength(
    trial: Trial, joint: float, joint_radii: Sizes, progress: Progress | None
) -> tuple[dict[str, float], tuple[Check, ...]]:
    """What each attack does on its own within the median joint radius, and checks of all."""
    reach, shares = joint * trial.width, {}
    for done, attack in enumerate(trial.attacks):
        shares[attack.name] = trial.share(reach, attacks=(attack,))
        if progress is not None:
            progress("each attack on its own", done + 1, len(trial.attacks))
    return shares, gradient_masking.checks(trial, reach, radii_joint=joint_radii, progress=progress)


def _flagged(target: Target, x: Tensor) -> float:
    return float((judged(target, x).score > target.threshold).float().mean())


def _plain(found: Sizes) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in found)


def _curve(found: Sizes, levels: Sizes) -> tuple[float, ...]:
    return tuple(float(np.mean(found <= level * (1 + 1e-9))) for level in levels)


def _median(found: Sizes) -> float:
    """Smallest radius that at least half of the images do not exceed."""
    return float(np.quantile(found, 0.5, method="inverted_cdf"))


def _intervals(alone: Sizes, joint: Sizes, plan: Plan) -> dict[str, Interval]:
    """Medians and their ratio; what is beyond the largest bound counts as that bound, so no ratio is too large."""
    alone, joint = np.minimum(alone, plan.most), np.minimum(joint, plan.most)

    def figures(alone: Sizes, joint: Sizes) -> tuple[float, float, float]:
        medians = _median(alone), _median(joint)
        return *medians, medians[1] / medians[0]

    found = redrawn(figures, alone, joint, seed=plan.seed)
    return dict(zip(("alone", "joint", "ratio"), found, strict=True))
