"""What a calibration is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ce_detect.calibrate.recipe import Recipe
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Progress
from ce_detect.data.lazy import Pixels
from ce_detect.verdict import conformal


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """What a calibration is asked for; see `ce_detect.DetectedModel.calibrate`."""

    recipe: Recipe
    fpr: float
    budget: float
    guarantee: conformal.Guarantee
    confidence: float
    seed: int
    attack_seconds: float | None
    cache: Path | None
    jobs: int | None
    progress: Progress | None
    harden: int = 0
    harden_images: Pixels | None = None
    secret_seed: int | None = None
    cascade: bool = False

    @property
    def drawn(self) -> int:
        """Seed that random interventions draw from: the secret one, where there is one."""
        return self.seed if self.secret_seed is None else self.secret_seed

    def __post_init__(self) -> None:
        if not self.budget > 1:
            raise CalibrationError(
                f"budget = {self.budget}: a gated forward runs the model once, so it must be above 1.0; "
                "2.0 means twice the time of the model alone"
            )
        if self.harden_images is not None and not self.harden:
            raise CalibrationError("images to harden with, but harden = 0: ask for at least one round")
        if self.cascade and self.harden:
            raise CalibrationError(
                f"cascade and harden = {self.harden} exclude each other: what the free statistics clear, a hardened "
                "copy would never see, so an attacker would only have to convince them"
            )
        if self.cascade and self.recipe.head == "distance":
            raise CalibrationError(
                f"cascade: recipe {self.recipe.name!r} learns from clean images alone, and what a cascade may clear is "
                "learned from attacks; take a recipe with attacks, such as 'default'"
            )
        if self.harden and self.recipe.head == "distance":
            raise CalibrationError(
                f"harden = {self.harden}: recipe {self.recipe.name!r} learns from clean images alone, and hardening "
                "teaches attacks; take a recipe with attacks, such as 'default'"
            )
