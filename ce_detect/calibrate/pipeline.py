"""Calibration: split, attack, search, fit, set the threshold, harden, measure.

A recipe with corruptions counts them as clean: in *fit* and *select* each clean image appears plain and under one of
them, and the threshold must hold twice, see `ce_detect.verdict.conformal`.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ce_detect.calibrate import adversarial_rounds, cascade, samples
from ce_detect.calibrate.cost.pytorch import BATCHES, SERVED, Meter
from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.dataset import CalibrationData, corrupted, gathered
from ce_detect.calibrate.manifest import manifest
from ce_detect.calibrate.search import candidates
from ce_detect.calibrate.search.search import KEPT, search
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.data import Images, Pixels, rows, splits, validation
from ce_detect.data.lazy import Concatenated
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.evaluate import report
from ce_detect.features.signature import Signature
from ce_detect.fitting import heads, robust_copy
from ce_detect.heads.base import Head, by_rows
from ce_detect.heads.cascade import CLEARED, CascadedHead
from ce_detect.interventions import RobustCopy
from ce_detect.storage.folders import cache_folder
from ce_detect.verdict import conformal

logger = logging.getLogger("ce_detect")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A gate, and plain data about how it came to be.

    Attributes:
        gate: from inputs to verdicts.
        manifest: what was calibrated, how, and the figures measured then.
        seen: identities of the images that it was calibrated on, see `ce_detect.data.splits.identities`.
        sample: a few of these images, clean and attacked, to hold an exported graph against; not in the artifact.
    """

    gate: GateModule
    manifest: dict[str, Any]
    seen: splits.Identities = field(default_factory=lambda: np.zeros(0, np.uint64))
    sample: NDArray[np.float32] | None = None


def calibrate(classifier: Classifier, bare: nn.Module, images: Images, request: CalibrationSettings) -> Calibrated:
    """Make a gate for a classifier; see `ce_detect.DetectedModel.calibrate`.

    Args:
        classifier: the wrapped model.
        bare: the model as the user runs it; its time is 1.0 in the budget.
        images: clean images and, where known, their labels.
        request: what is asked for.
    """
    if request.cascade:
        cascade.check_empty(classifier)
    data = gathered(classifier, images, request)
    recipe, cache, labels = request.recipe, request.cache or cache_folder(), data.images.y
    sample = torch.from_numpy(data.clean("fit")[: max(BATCHES)]).to(classifier.device)
    measuring = partial(Meter, classifier, bare, sample, CostTable(cache, classifier, batches=BATCHES), recipe.head)
    meter = measuring(cleared=CLEARED if request.cascade else None)
    reach = adversarial_rounds.median_radius(classifier, data.clean("fit")) if request.harden else 0.0
    further = _further(classifier, data, request)
    copy = _hardened_copy(classifier, data, further, meter, reach, request, cache)
    chosen = search(
        classifier, data.sets, meter, recipe=recipe, budget=request.budget, seed=request.seed, drawn=request.drawn,
        cache=cache, required=[] if copy is None else [candidates.of(copy)],
        labels=None if labels is None else labels[data.parts["select"]], progress=request.progress,
    )  # fmt: skip
    signature = meter.signature(list(chosen.items))
    learned = partial(_learned, signature, data.clean("calibrate"), request)
    tables = {name: heads.table(signature, part) for name, part in data.sets.items()}
    gate = learned(tables)
    gate, rounds = adversarial_rounds.harden(gate, data.sets, tables, learned, request, reach)
    del tables  # the largest that there is in memory
    served = {} if math.isinf(request.budget) else _served(meter, chosen.items, request.budget)
    figures: dict[str, Any] = {
        "cost": meter.gate(chosen.items),
        "served_cost": {str(batch): ratio for batch, ratio in served.items()},
    }
    if isinstance(gate.head, CascadedHead):
        figures |= cascade.measured(gate, data, figures, measuring(cleared=0.0), chosen.items)
        cascade.check_budget(figures, meter, request.budget)
    elif request.cascade:
        logger.warning("no cascade: the search took no intervention, so there is nothing that a cascade could spare")
    figures |= {"test": _tested(gate, data, request), "hardening": rounds}
    if copy is not None:
        figures["robust_copy"] = {
            "radius": robust_copy.RADII * reach,
            "images": len(data.sets["fit"].clean) + len(further.x),
        }
    described = manifest(classifier, data, request, chosen, gate, figures)
    shown = _sample(data.sets["fit"])
    samples.keep(gate, shown, cache)
    return Calibrated(gate, described, np.concatenate([data.known, further.known]), shown)


@dataclass(frozen=True, slots=True)
class _Further:
    """Images for hardening alone, none of them among those of the calibration, and their identities."""

    x: Pixels
    known: splits.Identities


def _further(classifier: Classifier, data: CalibrationData, request: CalibrationSettings) -> _Further:
    if request.harden_images is None:
        return _Further(np.zeros((0, *classifier.input_shape), np.float32), np.zeros(0, np.uint64))
    validation.check_all(request.harden_images, input_shape=classifier.input_shape, bounds=classifier.bounds)
    known = splits.identities(request.harden_images)
    new = np.flatnonzero(~np.isin(known, data.known))
    return _Further(rows(request.harden_images, new), known[new])


def _hardened_copy(
    classifier: Classifier,
    data: CalibrationData,
    further: _Further,
    meter: Meter,
    reach: float,
    request: CalibrationSettings,
    cache: Path,
) -> RobustCopy | None:
    """A copy trained on *fit* and on further images, if hardening is asked for.

    It is the first thing that the budget is spent on; where it does not fit, there is none, as a warning says.
    """
    copy = robust_copy.untrained(classifier) if request.harden else None
    if copy is None:
        return None
    alone = (candidates.of(robust_copy.for_timing(copy)),)
    if meter.cost(alone, request.budget) > request.budget * KEPT:
        needed = max([meter.gate(alone), *(ratio / SERVED for ratio in meter.served(alone).values())])
        logger.warning(
            "no hardened copy: with it the gate costs %.2f, too much for a budget of %.2f. Without it hardening does "
            "little; ask for a budget of %.1f", needed, request.budget, math.ceil(10 * needed / KEPT) / 10,
        )  # fmt: skip
        return None
    x = Concatenated([data.clean("fit"), further.x])
    return robust_copy.trained(classifier, copy, x, reach, seed=request.seed, folder=cache, progress=request.progress)


def _served(meter: Meter, items: tuple[candidates.Item, ...], budget: float) -> dict[int, float]:
    """Costs in ONNX Runtime by batch size, and a warning where nothing could keep the budget there."""
    served, tight = meter.served(items), meter.tight(budget)
    if served and tight:
        logger.warning(
            "in ONNX Runtime the free statistics alone take %s times the model in batches of %s: there the budget of "
            "%.2f does not bind, and holds in PyTorch only",
            " / ".join(f"{ratio:.2f}" for ratio in tight.values()), " / ".join(map(str, tight)), budget,
        )  # fmt: skip
    return served


def _sample(fit: heads.Sets) -> NDArray[np.float32]:
    kept = slice(max(BATCHES))
    return np.concatenate([fit.clean[kept], *(twins.pixels[kept] for twins in fit.attacked.values())])


def _learned(
    signature: Signature, clean: Pixels, request: CalibrationSettings, tables: dict[str, heads.Table]
) -> GateModule:
    """Fit the heads on *fit* and *select*, and set their thresholds on clean images of *calibrate*."""
    fitting, selecting, kind = tables["fit"], tables["select"], request.recipe.head
    place = conformal.rank(len(clean), request.fpr, guarantee=request.guarantee, confidence=request.confidence)
    flagged = 1 - place / len(clean)
    head = heads.fitted(
        signature, fitting, selecting, kind=kind, seed=request.seed, flagged=flagged, cascade=request.cascade
    )
    clean_only = None if kind == "distance" else heads.clean_only(signature, fitting, selecting)
    return _gate(signature, head, clean_only, clean, request)


def _tested(gate: GateModule, data: CalibrationData, request: CalibrationSettings) -> dict[str, Any] | None:
    """Figures on the *test* split; None where there is none."""
    test = data.images.subset(data.parts["test"])
    if not len(test):
        return None
    return report.evaluate(
        gate, test.pixels, test.y, data.tested, target=request.fpr, corruptions=request.recipe.corruptions,
        seed=request.seed,
    ).to_dict()  # fmt: skip


def _gate(
    signature: Signature, head: Head, clean_only: Head | None, clean: Pixels, request: CalibrationSettings
) -> GateModule:
    mixed = corrupted(signature.classifier, clean, request, share=request.recipe.corrupted)
    variants = [heads.features(signature, x) for x in (clean, mixed) if x is not None]
    beside = None if clean_only is None else Detector(clean_only, **_conformal(clean_only, variants, request))
    gate = GateModule(signature, head, **_conformal(head, variants, request), clean_only=beside)
    return gate.eval().to(signature.classifier.device)


def _conformal(head: Head, variants: list[NDArray[np.float32]], request: CalibrationSettings) -> dict[str, Any]:
    """Scores of the plain images, which come first, and the largest of the thresholds that hold for each variant."""
    with torch.inference_mode():
        scores = [by_rows(head.cpu(), torch.from_numpy(features)) for features in variants]
    thresholds = [
        conformal.threshold(found.numpy(), request.fpr, guarantee=request.guarantee, confidence=request.confidence)
        for found in scores
    ]
    return {"clean_scores": scores[0], "threshold": max(thresholds), "prevalence": request.recipe.prevalence}
