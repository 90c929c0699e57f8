"""The threshold that keeps the promise, from clean images of *calibrate* alone.

Where a recipe counts corrupted images as clean, the threshold must hold twice: for the plain images and for the
mixture, see `ce_detect.verdict.conformal`.
"""

from __future__ import annotations

from typing import Any

import torch

from ce_detect.calibrate.dataset import corrupted
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.core.types import Floats
from ce_detect.data import Pixels
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.fitting import feature_tables
from ce_detect.heads.base import Head, by_rows
from ce_detect.verdict import conformal


def flagged(clean: Pixels, settings: CalibrationSettings) -> float:
    """Share of these clean images that the threshold will flag."""
    place = conformal.rank(len(clean), settings.fpr, guarantee=settings.guarantee, confidence=settings.confidence)
    return 1 - place / len(clean)


def with_threshold(
    signature: Signature, head: Head, clean_only: Head | None, clean: Pixels, settings: CalibrationSettings
) -> GateModule:
    """The gate of heads that were fitted, each with a threshold of its own.

    Args:
        signature: what the heads score.
        head: the head that learned from attacks, if any did.
        clean_only: the one that did not; None where that is the head.
        clean: images of *calibrate* ``(n, channels, height, width)``.
        settings: with the promise that the thresholds keep.
    """
    mixed = corrupted(signature.classifier, clean, settings, share=settings.recipe.corrupted)
    variants = [feature_tables.features(signature, x) for x in (clean, mixed) if x is not None]
    beside = None if clean_only is None else Detector(clean_only, **_scored(clean_only, variants, settings))
    gate = GateModule(signature, head, **_scored(head, variants, settings), clean_only=beside)
    return gate.eval().to(signature.classifier.device)


def _scored(head: Head, variants: list[Floats], settings: CalibrationSettings) -> dict[str, Any]:
    """Scores of the plain images, which come first, and the largest of the thresholds that hold for each variant."""
    with torch.inference_mode():
        scores = [by_rows(head.cpu(), torch.from_numpy(features)) for features in variants]
    thresholds = [
        conformal.threshold(found.numpy(), settings.fpr, guarantee=settings.guarantee, confidence=settings.confidence)
        for found in scores
    ]
    return {"clean_scores": scores[0], "threshold": max(thresholds), "prevalence": settings.recipe.prevalence}
