"""A user's file, as a type checker sees it; nothing here runs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import ce_detect
from ce_detect import Abstain, Attack, CalibrationSettings, DetectedModel, GateResult, Normalized, Recipe
from ce_detect.runtime import Gate


def judged(model: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> GateResult:
    """Calibrate and judge."""
    settings = CalibrationSettings.of(recipe="quick", fpr=0.05, budget=2.0)
    guard = DetectedModel(Normalized(model, mean=0.5, std=0.2), bounds=(0.0, 1.0)).calibrate(x, y, settings, seed=3)
    guard.save("guard.safetensors")
    result: GateResult = guard(torch.from_numpy(x), policy=Abstain(raise_error=True))
    return result


def attacks() -> tuple[str, ...]:
    """Names of a recipe's attacks, with one of one's own."""
    recipe: Recipe = Recipe.load("default")
    return tuple(attack.name for attack in (*recipe.attacks, Attack.of("pgd", eps="2/255")))


def version() -> str:
    """A lazy name has a type."""
    return ce_detect.__version__


def in_production(x: NDArray[np.float32]) -> float:
    """Without torch."""
    return Gate("guard.onnx")(x).threshold


def wrong() -> None:
    """What a type checker must refuse."""
    CalibrationSettings.of(fprr=0.1)  # type: ignore[call-arg]
    DetectedModel(model=3)  # type: ignore[arg-type]
    Attack.of(3)  # type: ignore[arg-type]
