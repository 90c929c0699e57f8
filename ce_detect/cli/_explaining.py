"""What the console asks of the model itself, where torch is there: maps, what carried a score, and an attack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ce_detect.console.settings import Attacker, Explained, Explainer
from ce_detect.core.types import Floats

if TYPE_CHECKING:  # help needs no torch
    from ce_detect.guard.detected_model import DetectedModel

SHOWN = 6
"""Parts of the evidence that are listed."""

STEPS = 10
"""Steps of the attack."""


def loaded(guard: Path, model: str, weights: Path | None, trusted_key: Path | None = None) -> DetectedModel:
    """The detector in front of its model."""
    from ce_detect import DetectedModel, load_model

    return DetectedModel.load(guard, load_model(model, weights), trusted_key=trusted_key)


def explainer(guard: DetectedModel) -> Explainer:
    """Explains inputs in [0, 1] by the detector."""
    from ce_detect.reporting.gallery import CAPTIONS

    def explain(pixels: Floats) -> Explained:
        found = guard.explain(_within(guard, pixels)[None])
        maps = {
            caption.format(label="the decision"): np.asarray(getattr(found.maps, kind)[0].cpu())
            for kind, caption in CAPTIONS.items()
        }
        return Explained(maps, [part.words for part in found.carried[0][:SHOWN]])

    return explain


def attacker(guard: DetectedModel) -> Attacker | None:
    """Attacks inputs in [0, 1] by PGD on the classifier; None for one without gradients."""
    from ce_detect.attacks import Attack
    from ce_detect.attacks.run import run

    classifier = guard.classifier
    if not classifier.differentiable:
        return None
    low, high = classifier.bounds

    def attack(pixels: Floats, reach: float) -> Floats:
        length = reach * (high - low)
        pgd = Attack.of("pgd", eps=length, eps_step=2.5 * length / STEPS, max_iter=STEPS)
        found = run(pgd, classifier, _within(guard, pixels)[None], batch_size=1)[0]
        return np.asarray((found - low) / (high - low), np.float32)

    return attack


def _within(guard: DetectedModel, pixels: Floats) -> Floats:
    low, high = guard.classifier.bounds
    return np.asarray(np.float32(low) + np.float32(high - low) * pixels, np.float32).clip(low, high)
