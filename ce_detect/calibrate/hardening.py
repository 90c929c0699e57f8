"""What hardening adds before the search: a copy of the classifier that small perturbations do not fool.

The rounds of adaptive attacks that follow are in `ce_detect.calibrate.adversarial_rounds`.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.calibrate.adversarial_rounds import median_radius
from ce_detect.calibrate.cost.pytorch import ONNXRUNTIME_ALLOWANCE, Meter
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.items import Item
from ce_detect.calibrate.search.budget import KEPT
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.data import Pixels, rows, splits, validation
from ce_detect.data.lazy import Concatenated
from ce_detect.fitting import robust_copy
from ce_detect.interventions import RobustCopy

logger = logging.getLogger("ce_detect")

SCALES = (1.0, 0.75, 0.5)
"""Sizes at which a copy may look at the image, the most robust first."""


@dataclass(frozen=True, slots=True)
class Hardening:
    """What hardening has to go by.

    Attributes:
        reach: see `ce_detect.calibrate.adversarial_rounds.median_radius`; 0 without hardening.
        copy: the trained copy; None where there is none.
        images: number of images that it was trained on.
        identities: of the images that were given for hardening alone.
    """

    reach: float = 0.0
    copy: RobustCopy | None = None
    images: int = 0
    identities: splits.Identities = field(default_factory=lambda: np.zeros(0, np.uint64))

    @property
    def required(self) -> tuple[Item, ...]:
        """What the budget is spent on first."""
        return () if self.copy is None else (Item.of(self.copy),)

    @property
    def figures(self) -> dict[str, Any]:
        """What the manifest says of the copy."""
        if self.copy is None:
            return {}
        return {"robust_copy": {"radius": robust_copy.RADII * self.reach, "images": self.images}}


def prepare(
    classifier: Classifier, data: CalibrationData, meter: Meter, settings: CalibrationSettings, cache: Path
) -> Hardening:
    """Measure how far attacks reach, and train the copy on *fit* and on further images, if hardening is asked for.

    The copy is the first thing that the budget is spent on; where it does not fit, there is none, as a warning says.

    Raises:
        InputError: further images that cannot be judged.
    """
    if not settings.harden:
        return Hardening()
    reach = median_radius(classifier, data.clean("fit"))
    further, identities = _further(classifier, data, settings)
    x = Concatenated([data.clean("fit"), further])
    copy = _affordable(classifier, meter, settings.budget)
    if copy is not None:
        copy = robust_copy.trained(
            classifier, copy, x, reach, seed=settings.seed, folder=cache, corruptions=settings.recipe.corruptions,
            progress=settings.progress,
        )  # fmt: skip
    return Hardening(reach, copy, len(x), identities)


def _further(
    classifier: Classifier, data: CalibrationData, settings: CalibrationSettings
) -> tuple[Pixels, splits.Identities]:
    """Images for hardening alone, none of them among those of the calibration, and their identities."""
    given = settings.harden_images
    if given is None:
        return np.zeros((0, *classifier.input_shape), np.float32), np.zeros(0, np.uint64)
    validation.check_all(given, input_shape=classifier.input_shape, bounds=classifier.bounds)
    identities = splits.identities(given)
    new = np.flatnonzero(~np.isin(identities, data.identities))
    return rows(given, new), identities[new]


def _affordable(classifier: Classifier, meter: Meter, budget: float) -> RobustCopy | None:
    """The largest copy within the budget, not trained yet; None where there can be none, or none within the budget."""
    scales = SCALES if classifier.elastic else SCALES[:1]
    for scale in [one for one in scales if robust_copy.learns(classifier, one)] or scales[-1:]:
        copy = robust_copy.untrained(classifier, scale)
        if copy is None:
            return None
        alone = (Item.of(robust_copy.for_timing(copy)),)
        if meter.cost(alone, budget) <= budget * KEPT:
            return copy
    in_onnxruntime = (ratio / ONNXRUNTIME_ALLOWANCE for ratio in meter.onnxruntime(alone).values())
    needed = max([meter.pytorch(alone), *in_onnxruntime])
    logger.warning(
        "no hardened copy of the model: with the smallest the gate costs %.2f, too much for a budget of %.2f. Without "
        "it hardening does little. Ask for a budget of %.1f", needed, budget, math.ceil(10 * needed / KEPT) / 10,
    )  # fmt: skip
    return None
