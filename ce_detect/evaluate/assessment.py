"""Figures of a classifier alone, under attack and natural change, and what a gate in front of it would catch.

Terms are those of MITRE ATLAS (atlas.mitre.org) and of NIST AI 100-2 E2025, *Adversarial Machine Learning: A Taxonomy
and Terminology of Attacks and Mitigations*, section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.attacks.generation import AttackedSet
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import TooFewSamplesError
from ce_detect.core.types import Floats, Index
from ce_detect.data import Images, Mapped, Pixels, tensors
from ce_detect.data.corruptions import Corruption
from ce_detect.evaluate.metrics import share_above
from ce_detect.evaluate.report import Report
from ce_detect.verdict import conformal

JPEG = Corruption("jpeg", 1)
"""How an attacked image is saved: as most cameras and web pages do."""

AS_JPEG = " as JPEG"
"""What the name of a saved attack ends in."""

RATES = (0.01, 0.02, 0.05, 0.1)
"""Shares of clean inputs that a gate may flag, by which it is looked at."""


class Terms(NamedTuple):
    """How others call an attack."""

    atlas: str
    atlas_access: str
    nist: str


TERMS: Mapping[str, Terms] = {
    "white-box": Terms(
        "AML.T0043.000 White-Box Optimization", "AML.T0044 Full AI Model Access", "evasion attack, white-box"
    ),
    "scores": Terms(
        "AML.T0043.001 Black-Box Optimization",
        "AML.T0040 AI Model Inference API Access",
        "evasion attack, black-box, score-based",
    ),
    "decisions": Terms(
        "AML.T0043.001 Black-Box Optimization",
        "AML.T0040 AI Model Inference API Access",
        "evasion attack, black-box, decision-based",
    ),
}
"""By what an attacker sees, see `ce_detect.attacks.registry.AttackInfo.access`. What they reach is AML.T0015 Evade AI
Model, an integrity violation in NIST's words; a gate is the mitigation AML.M0015 Adversarial Input Detection."""


@dataclass(frozen=True, slots=True)
class Fooled:
    """One attack on the classifier alone. It succeeds where the decision differs from that on the clean image.

    Attributes:
        access: what the attacker sees.
        norm: what is kept small.
        eps: the bound, as a share of the pixel range; None where the attack has none and seeks the smallest change.
        change: median L2 norm of the successful changes over the pixel range; NaN without any.
        n: images.
        fresh: share of them on which it succeeds.
        saved: share on which it still does when the attacked image was saved as JPEG.
        accuracy: of the classifier under the attack; None without labels.
    """

    access: str
    norm: str
    eps: str | None
    change: float
    n: int
    fresh: float
    saved: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Borne:
    """One natural change in front of the classifier alone.

    Attributes:
        changed: share of the decisions that it moves.
        accuracy: of the classifier; None without labels.
        n: images.
    """

    changed: float
    accuracy: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What a gate does at one threshold; shares of inputs that were not used in calibration.

    Attributes:
        asked: share of clean inputs that the threshold was chosen to flag.
        clean: share of clean inputs that it flags.
        natural: the same after natural change, mean over the changes.
        fresh: share of successful attacks that it flags, mean over attacks; NaN without any.
        saved: the same after they were saved as JPEG.
        lowest: the least of ``fresh`` over the attacks.
    """

    asked: float
    clean: float
    natural: float
    fresh: float
    saved: float
    lowest: float


def saved(classifier: Classifier, attacked: Mapping[str, AttackedSet]) -> dict[str, AttackedSet]:
    """The same attacked images after `JPEG`, under names that end in `AS_JPEG`."""
    change = partial(JPEG, bounds=classifier.bounds, seed=0)
    return {name + AS_JPEG: replace(twins, pixels=Mapped(twins.pixels, change)) for name, twins in attacked.items()}


def fooled(classifier: Classifier, images: Images, attacked: Mapping[str, AttackedSet]) -> dict[str, Fooled]:
    """Figures of attacks by name.

    Args:
        classifier: alone.
        images: clean.
        attacked: attacked twins of some of them, as they are and `saved`.
    """
    clean, low_high = _decided(classifier, images.pixels), classifier.bounds
    found = {}
    for name, twins in attacked.items():
        if name.endswith(AS_JPEG):
            continue
        decided, later = _decided(classifier, twins.pixels), _decided(classifier, attacked[name + AS_JPEG].pixels)
        success, settings = decided != clean[twins.index], dict(twins.attack.settings)
        changes = (twins.x - np.asarray(images.pixels[twins.index])) / (low_high[1] - low_high[0])
        found[name] = Fooled(
            access=twins.attack.info.access,
            norm=twins.attack.info.norm,
            eps=None if "eps" not in settings else str(settings["eps"]),
            change=_median(np.sqrt((changes[success] ** 2).sum((1, 2, 3)))),
            n=len(success),
            fresh=float(success.mean()),
            saved=float((later != clean[twins.index]).mean()),
            accuracy=None if images.y is None else float((decided == images.y[twins.index]).mean()),
        )
    return found


def borne(classifier: Classifier, images: Images, corruptions: tuple[Corruption, ...], seed: int) -> dict[str, Borne]:
    """Figures of natural changes by name."""
    clean, found = _decided(classifier, images.pixels), {}
    for corruption in corruptions:
        pixels = Mapped(images.pixels, partial(corruption, bounds=classifier.bounds, seed=seed))
        decided = _decided(classifier, pixels)
        accuracy = None if images.y is None else float((decided == images.y).mean())
        found[corruption.name] = Borne(float((decided != clean).mean()), accuracy, len(decided))
    return found


def choices(report: Report, clean_scores: Floats) -> list[Choice]:
    """What a gate does at thresholds for each of `RATES` that its calibration supports.

    Args:
        report: on images that calibration did not see; attacks fresh and `saved`.
        clean_scores: of the calibration; the thresholds are their conformal ones, on average over calibrations.
    """
    found = []
    for rate in RATES:
        try:
            threshold = conformal.threshold(clean_scores, rate, guarantee="marginal")
        except TooFewSamplesError:
            continue
        shares = {name: share_above(scores, threshold) for name, scores in report.scores.attacked.items()}
        fresh = [share for name, share in shares.items() if not name.endswith(AS_JPEG) and not np.isnan(share)]
        later = [share for name, share in shares.items() if name.endswith(AS_JPEG) and not np.isnan(share)]
        natural = [share_above(scores, threshold) for scores in report.scores.natural.values()]
        found.append(
            Choice(
                asked=rate,
                clean=share_above(report.scores.clean, threshold),
                natural=_mean(natural),
                fresh=_mean(fresh),
                saved=_mean(later),
                lowest=min(fresh, default=float("nan")),
            )
        )
    return found


def plain(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Plain data of figures by name."""
    return {name: asdict(one) for name, one in found.items()}


def _decided(classifier: Classifier, x: Pixels) -> Index:
    with torch.inference_mode():
        parts = [classifier.logits(batch).argmax(1).cpu() for batch in tensors.batches(x, 128, classifier.device)]
    decided: Index = torch.cat(parts).numpy()
    return decided


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _median(values: NDArray[Any]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
