"""A calibrated detector on new images: under attack, and under attacks that know it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import attack_all
from ce_detect.calibrate.pipeline import Calibrated
from ce_detect.core.progress import reported
from ce_detect.core.types import Progress
from ce_detect.data import Images
from ce_detect.data.corruptions import MILD, Corruption
from ce_detect.data.splits import identities
from ce_detect.evaluate import report
from ce_detect.redteam import red_team
from ce_detect.redteam.settings import Plan

logger = logging.getLogger("ce_detect")


class EvaluationOptions(TypedDict, total=False):
    """What an evaluation is asked for, see `evaluate`."""

    attacks: tuple[Attack, ...] | None
    corruptions: tuple[Corruption, ...]
    seed: int
    cache: str | Path | None
    jobs: int | None
    attack_time: float | None
    progress: Progress | bool | None
    examples: int


class RedTeamOptions(TypedDict, total=False):
    """What a red team is asked for, see `redteam`."""

    plan: Plan | None
    secret_seeds: bool
    progress: Progress | bool | None
    examples: int


def evaluate(
    calibrated: Calibrated,
    images: Images,
    *,
    attacks: tuple[Attack, ...] | None = None,
    corruptions: tuple[Corruption, ...] = MILD,
    seed: int = 1,
    cache: str | Path | None = None,
    jobs: int | None = None,
    attack_time: float | None = None,
    progress: Progress | bool | None = None,
    examples: int = 0,
) -> report.Report:
    """Attack images that calibration did not see and measure the gate on them and on their clean twins.

    Args:
        calibrated: the gate and its manifest.
        images: clean, within the bounds; labels are optional.
        attacks: what to do, by default the attacks of the recipe.
        corruptions: natural changes to count false alarms under, by default all mild ones.
        seed: seed of the attacks and of the corruptions.
        cache: see `ce_detect.CalibrationSettings`, as all that follow.
        jobs: processes that make attacked images.
        attack_time: seconds after which no new chunk of images is attacked.
        progress: see `ce_detect.core.progress.reported`.
        examples: flagged inputs of each kind to keep, see `ce_detect.evaluate.scores.Flagged`.
    """
    seen = _warn(calibrated, images)
    gate, manifest = calibrated.gate, calibrated.manifest
    if attacks is None:
        attacks = tuple(Attack.of(**spec) for spec in manifest.recipe.attacks)
    with reported(progress) as shown:
        attacked = attack_all(
            gate.signature.classifier, images.pixels, attacks, seed=seed, cache=None if cache is None else Path(cache),
            jobs=jobs, seconds=attack_time, progress=shown,
        )  # fmt: skip
    found = report.evaluate(
        gate, images.pixels, images.y, attacked, target=manifest.fpr, corruptions=corruptions, seed=seed,
        examples=examples,
    )  # fmt: skip
    found.warn()
    return replace(found, seen=seen)


def redteam(
    calibrated: Calibrated,
    images: Images,
    *,
    plan: Plan | None = None,
    secret_seeds: bool = False,
    progress: Progress | bool | None = None,
    examples: int = 0,
) -> red_team.RedTeam:
    """Attack classifier and gate together, see `ce_detect.redteam.red_team`.

    Args:
        calibrated: the gate.
        images: clean, within the bounds; none of which calibration saw.
        plan: what the attacker may do, by default `ce_detect.redteam.settings.Plan()`.
        secret_seeds: the attacker does not know the seeds of the gate's random interventions.
        progress: see `ce_detect.core.progress.reported`.
        examples: inputs that got through to keep, see `ce_detect.redteam.examples.PastTheGate`.

    Raises:
        UsageError: secret seeds of a gate in which nothing is random.
    """
    _warn(calibrated, images)
    with reported(progress) as shown:
        return red_team.redteam_gate(
            calibrated.gate, images.x, plan or Plan(), secret_seeds=secret_seeds, progress=shown, examples=examples
        )


def _warn(calibrated: Calibrated, images: Images) -> int:
    """Say what these figures are not: those of unseen images, or of the graph that is deployed; how many were seen."""
    if calibrated.manifest.deploy is not None:
        logger.warning(
            "the threshold is that of the exported graph in %s; these figures are of the gate in PyTorch, in float32",
            calibrated.manifest.deploy.precision,
        )
    used = int(np.isin(identities(images.pixels), calibrated.seen).sum())
    if used:
        logger.warning(
            "%d of these %d images were used in calibration; figures on new ones will be worse", used, len(images)
        )
    return used
