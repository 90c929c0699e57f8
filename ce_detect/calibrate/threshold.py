"""The threshold that keeps the promise, from clean images of *calibrate* alone.

It must hold for the plain images, for a mixture of plain and naturally changed ones where the recipe counts those as
clean, and for images of the user's own where there are some: the largest counts, see `ce_detect.verdict.conformal`.
"""

from __future__ import annotations

from typing import Any

import torch

from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.calibrate.variants import corrupted
from ce_detect.classifiers.base import Classifier
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
    signature: Signature, head: Head, clean_only: Head | None, data: CalibrationData, settings: CalibrationSettings
) -> GateModule:
    """The gate of heads that were fitted, each with a threshold of its own.

    Args:
        signature: what the heads score.
        head: the head that learned from attacks, if any did.
        clean_only: the one that did not; None where that is the head.
        data: thresholds come from its split *calibrate*.
        settings: with the promise that the thresholds keep.
    """
    features = [feature_tables.features(signature, x) for x in variants(signature.classifier, data, settings)]
    beside = None if clean_only is None else Detector(clean_only, **detector(_scores(clean_only, features), settings))
    gate = GateModule(signature, head, **detector(_scores(head, features), settings), clean_only=beside)
    return gate.eval().to(signature.classifier.device)


def variants(classifier: Classifier, data: CalibrationData, settings: CalibrationSettings) -> list[Pixels]:
    """The images that a threshold must hold for: the plain ones, the mixture with natural change, the user's own."""
    clean = data.clean("calibrate")
    found = [clean]
    if settings.recipe.corruptions:
        found.append(corrupted(classifier, clean, settings, share=settings.recipe.corrupted))
    return [*found, data.beside["calibrate"]] if "calibrate" in data.beside else found


def detector(scores: list[Floats], settings: CalibrationSettings) -> dict[str, Any]:
    """Arguments of a `Detector` beside its head, from clean scores.

    Args:
        scores: of the plain images, which come first, and of other `variants`; the largest of their thresholds counts.
        settings: with the promise that the threshold keeps.
    """
    thresholds = [
        conformal.threshold(found, settings.fpr, guarantee=settings.guarantee, confidence=settings.confidence)
        for found in scores
    ]
    plain = torch.from_numpy(scores[0])
    return {"clean_scores": plain, "threshold": max(thresholds), "prevalence": settings.recipe.prevalence}


def _scores(head: Head, features: list[Floats]) -> list[Floats]:
    with torch.inference_mode():
        return [by_rows(head.cpu(), torch.from_numpy(found)).numpy() for found in features]
