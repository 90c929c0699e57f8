"""What the rows of `adaptive.py` share: images, the attacker's plan, radii of the classifier alone, and gates."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.face import (
    FORMAT,
    LARGEST,
    SCALES,
    SOFTNESS,
    STEEPNESS,
    Alone,
    CalibrationData,
    Case,
    Plan,
    RedTeam,
    Target,
    adversarial_rounds,
    cache_folder,
    divided,
    prepare,
    radii,
    redteam,
    robust_copy,
)
from benchmarks.program import progress
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import Subject
from ce_detect import CalibrationSettings, DetectedModel, Recipe, __version__

BUDGET, LARGE = 2.0, 4.5
HARDENED = 3.0
"""Budget with room for a copy that looks at the whole image; 2.0 has room for one that looks at a smaller one."""

HARDENED_ON = 8000
"""Training images of the classifier on which a hardened copy is trained, at most."""

Specs = tuple[dict[str, Any], ...]
"""Interventions as a recipe names them."""


class Bench:
    """Everything that the rows share.

    Attributes:
        subject: classifier, images and recipe.
        x: images that are attacked.
        plan: what the attacker may do.
        stages: seconds that each stage of the calibrations made here took.
    """

    def __init__(self, subject: Subject, count: int, steps: int, skip: int = 0, *, seed: int = SEED) -> None:
        self.subject, self.seed = subject, seed
        self.stages: dict[str, float] = {}
        self.first, fresh = subject.split()
        self.x = np.asarray(fresh.x[skip : skip + count])
        self.plan = Plan(least=0.125 / 255, most=16 / 255, steps=steps, decisions=2, queries=300, within=(), seed=SEED)
        self.guard = subject.guard(self.x.shape[1:])
        self.alone = Alone(self.guard.classifier)
        self._radii: np.ndarray | None = None

    @property
    def radii(self) -> np.ndarray:
        """Smallest perturbations that fool the classifier alone."""
        if self._radii is None:
            case = Case.of(self.alone, torch.from_numpy(self.x))
            self._radii, _ = radii(self.alone, case, self.plan.levels, steps=self.plan.steps, seed=self.plan.seed)
        return self._radii

    def calibrated(self, budget: float, harden: int = 0, interventions: Specs = ()) -> DetectedModel:
        """A guard from where ``detection.py`` left it, or calibrated with what is in the cache."""
        left = self.subject.artifact(budget)
        if left.is_file() and not harden and not interventions and self.seed == SEED:
            return DetectedModel.load(left, self.subject.model())
        recipe = replace(Recipe.load(self.subject.recipe), interventions=interventions)
        described = (__version__, FORMAT, recipe, FPR, budget, harden, hardening() if harden else ())
        described += (self.seed,) if self.seed != SEED else ()
        made = hashlib.sha256(repr(described).encode()).hexdigest()
        kept = cache_folder() / "guards" / f"{self.subject.name}-adaptive-{made[:12]}.safetensors"
        if kept.is_file():
            return DetectedModel.load(kept, self.subject.model())
        guard = self.subject.guard(self.x.shape[1:])
        guard.calibrate(
            self.first.x, self.first.y, recipe=recipe, fpr=FPR, budget=budget, seed=self.seed, harden=harden,
            harden_with=self.further() if harden else None, progress=self._timed(),
        )  # fmt: skip
        kept.parent.mkdir(parents=True, exist_ok=True)
        guard.save(kept)
        return guard

    def _timed(self) -> Callable[[str, float, float], None]:
        """Show progress, and count the time up to each sign of it for the stage that gave it."""
        last = time.perf_counter()

        def report(what: str, done: float, total: float) -> None:
            nonlocal last
            now = time.perf_counter()
            self.stages[what] = self.stages.get(what, 0.0) + now - last
            last = now
            progress(what, done, total)

        return report

    def further(self) -> np.ndarray | None:
        """Images for hardening alone, as many as `HARDENED_ON`."""
        return None if self.subject.training is None else self.subject.training()[:HARDENED_ON]

    def attacked(
        self, target: Target, *, truth: Target | None = None, check: bool = False, most: int | None = None,
        longer: int = 1,
    ) -> RedTeam:  # fmt: skip
        """The red team on a target, with the first ``most`` images and so many times the steps, also for the model."""
        if longer > 1:
            plan = replace(self.plan, steps=longer * self.plan.steps)
            return redteam(target, self.alone, self.x[:most], plan, check=check, progress=progress)
        return redteam(
            target, self.alone, self.x[:most], self.plan, truth=truth, alone_radii=self.radii[:most], check=check,
            progress=progress,
        )  # fmt: skip

    def data(self) -> CalibrationData:
        """Splits and attacked images, as a calibration takes them."""
        settings = CalibrationSettings(
            recipe=Recipe.load(self.subject.recipe), fpr=FPR, budget=BUDGET, guarantee="pac", confidence=0.95,
            seed=self.seed, progress=progress,
        )  # fmt: skip
        return prepare(self.guard.classifier, divided(self.first, settings), settings)


def hardening() -> tuple[Any, ...]:
    """Constants that a hardened gate depends on beside its recipe: one that was kept with others is not used."""
    rounds = adversarial_rounds.IMAGES, adversarial_rounds.REACHES, adversarial_rounds.STEPS
    copy = HARDENED_ON, SCALES, robust_copy.IMAGES, robust_copy.RADII, robust_copy.RATE, SOFTNESS, STEEPNESS, LARGEST
    return (*rounds, *copy, robust_copy.CORRUPTED)
