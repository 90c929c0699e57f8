"""The threshold that keeps the promise, from clean images of *calibrate* alone.

It must hold for all of `variants`: the largest counts, see `ce_detect.verdict.conformal`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.calibrate.variants import corrupted
from ce_detect.classifiers.base import Classifier
from ce_detect.core.types import Floats
from ce_detect.data import Mapped, Pixels, rows
from ce_detect.data.corruptions import KINDS, SEVERITIES
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.fitting import feature_tables
from ce_detect.heads.base import Head, by_rows
from ce_detect.verdict import conformal

logger = logging.getLogger("ce_detect")

TIMES = 2.0
"""Times the rate that was asked for, up to which one kind of natural change may be flagged."""

MOST = 0.5
"""That rate, at most."""


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
    held = variants(signature.classifier, data, settings)
    features = [feature_tables.features(signature, one.pixels) for one in held]

    def thresholds(one: Head, *, told: bool) -> dict[str, Any]:
        return detector(_scores(one, features), held, settings, told=told)

    beside = None if clean_only is None else Detector(clean_only, **thresholds(clean_only, told=False))
    gate = GateModule(signature, head, **thresholds(head, told=True), clean_only=beside)
    return gate.eval().to(signature.classifier.device)


class Variant(NamedTuple):
    """Clean images that a threshold must hold for.

    Attributes:
        name: what they are.
        pixels: ``(n, channels, height, width)``.
        fpr: largest share of them that may be flagged.
        guarantee: how surely, see `ce_detect.verdict.conformal`.
    """

    name: str
    pixels: Pixels
    fpr: float
    guarantee: conformal.Guarantee


def variants(classifier: Classifier, data: CalibrationData, settings: CalibrationSettings) -> list[Variant]:
    """All that a threshold must hold for, the plain images first.

    The rate that was asked for holds for plain images, for their mixture with natural change, and for the user's own.
    No kind of change alone, at either strength, may be flagged more than `TIMES` as often.
    """
    clean, corruptions = data.clean("calibrate"), settings.recipe.corruptions
    promised = settings.fpr, settings.guarantee
    found = [Variant("plain images", clean, *promised)]
    if corruptions:
        mixed = corrupted(classifier, clean, settings, share=settings.recipe.corrupted)
        found.append(Variant("the mixture with natural change", mixed, *promised))
    if "calibrate" in data.beside:
        found.append(Variant("also_clean", data.beside["calibrate"], *promised))
    for one in corruptions:
        both = one.kind in KINDS and one.severity is None
        strengths = [replace(one, severity=severity) for severity in SEVERITIES] if both else [one]
        for place, strength in enumerate(strengths):
            # each on images of its own: twice as many would take twice as long
            some = rows(clean, slice(place, None, len(strengths)))
            changed = Mapped(some, partial(strength, bounds=classifier.bounds, seed=settings.seed))
            found.append(Variant(strength.name, changed, min(TIMES * settings.fpr, MOST), "marginal"))
    return found


def detector(
    scores: list[Floats], held: list[Variant], settings: CalibrationSettings, *, told: bool = True
) -> dict[str, Any]:
    """Arguments of a `Detector` beside its head, from clean scores.

    Args:
        scores: of each of `variants`; the largest of their thresholds counts.
        held: these variants.
        settings: with the confidence of the promise.
        told: whether the log names a single kind of change that sets the threshold.
    """
    thresholds = [
        conformal.threshold(found, one.fpr, guarantee=one.guarantee, confidence=settings.confidence)
        for found, one in zip(scores, held, strict=True)
    ]
    strictest = held[int(np.argmax(thresholds))]
    if told and strictest.fpr > settings.fpr:
        logger.warning(
            "%s alone sets the threshold: %.2g %% of the plain images are flagged, of %.3g %% that you allow, so fewer "
            "attacks are found. Where your inputs do not have it, leave it out of the recipe",
            strictest.name, 100 * float(np.mean(scores[0] > max(thresholds))), 100 * settings.fpr,
        )  # fmt: skip
    plain = torch.from_numpy(scores[0])
    return {"clean_scores": plain, "threshold": max(thresholds), "prevalence": settings.recipe.prevalence}


def _scores(head: Head, features: list[Floats]) -> list[Floats]:
    with torch.inference_mode():
        return [by_rows(head.cpu(), torch.from_numpy(found)).numpy() for found in features]
