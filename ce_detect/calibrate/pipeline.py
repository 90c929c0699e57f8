"""Calibration, in one direction: split and attack, search, fit, set the threshold, harden, measure, describe.

What counts as clean and as attacked, natural change included, is in `ce_detect.calibrate.variants`; what the threshold
must hold for in `ce_detect.calibrate.threshold`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ce_detect.artifacts.manifest import Manifest
from ce_detect.calibrate import (
    adversarial_rounds,
    cascade,
    dataset,
    deployment,
    figures,
    hardening,
    samples,
    threshold,
)
from ce_detect.calibrate.cost.pytorch import BATCHES, Meter
from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.dataset import CalibrationData, Divided
from ce_detect.calibrate.manifest import manifest
from ce_detect.calibrate.search.search import search
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.progress import quiet, reported, shares
from ce_detect.core.types import Floats
from ce_detect.data import splits
from ce_detect.detector.gate import GateModule
from ce_detect.detector.inference import Inference
from ce_detect.features.signature import Signature
from ce_detect.fitting import feature_tables, heads
from ce_detect.heads.cascade import CLEARED
from ce_detect.storage.folders import cache_folder


@dataclass(frozen=True)
class Calibrated:
    """A gate, and plain data about how it came to be.

    Attributes:
        gate: from inputs to verdicts.
        manifest: what was calibrated, how, and the figures measured then.
        seen: identities of the images that it was calibrated on, see `ce_detect.data.splits.identities`.
        sample: a few of these images, clean and attacked, to hold an exported graph against; not in the artifact.
    """

    gate: GateModule
    manifest: Manifest
    seen: splits.Identities = field(default_factory=lambda: np.zeros(0, np.uint64))
    sample: Floats | None = None

    @cached_property
    def inference(self) -> Inference:
        """What judges by the gate; kept, for the programs that it compiles."""
        return Inference(self.gate)


def calibrate(classifier: Classifier, bare: nn.Module, images: Divided, settings: CalibrationSettings) -> Calibrated:
    """Make a gate for a classifier; see `ce_detect.DetectedModel.calibrate`.

    Args:
        classifier: the wrapped model.
        bare: the model as the user runs it; its time is 1.0 in the budget.
        images: clean images and, where known, their labels, in splits.
        settings: what is asked for.
    """
    with reported(settings.progress) as progress:
        return _calibrated(classifier, bare, images, replace(settings, progress=progress))


def _calibrated(classifier: Classifier, bare: nn.Module, images: Divided, settings: CalibrationSettings) -> Calibrated:
    if settings.cascade:
        cascade.check_empty_batch(classifier)
    deployment.check(classifier, settings)
    cache = settings.cache or cache_folder()
    data = dataset.prepare(classifier, images, settings)
    meter = _meter(classifier, bare, data, settings, cache)
    hardened = hardening.prepare(classifier, data, meter, settings, cache)
    chosen = search(classifier, data, meter, settings, cache=cache, required=hardened.required)
    fitted, rounds = _fitted_in_rounds(meter.signature(chosen.items), data, settings, hardened.reach)
    deployed = deployment.deployed(fitted, data, settings)
    gate = deployed.gate
    found = figures.costs(gate, data, meter, chosen.items, settings)
    tested = figures.tested(gate, data, settings, deployed.judge)
    found |= {"test": tested, "hardening": rounds, **hardened.figures}
    described = manifest(classifier, data, settings, chosen, gate, found, deployed.part)
    sample = _sample(data)
    samples.keep(gate, sample, cache)
    seen = np.concatenate([data.identities, data.beside_identities, hardened.identities])
    return Calibrated(gate, described, seen, sample)


def _meter(
    classifier: Classifier, bare: nn.Module, data: CalibrationData, settings: CalibrationSettings, cache: Path
) -> Meter:
    """What measures costs for this classifier, on some clean images."""
    x = torch.from_numpy(data.clean("fit")[: max(BATCHES)]).to(classifier.device)
    table = CostTable(cache, classifier, batches=BATCHES)
    return Meter(classifier, bare, x, table, settings.recipe.head, cleared=CLEARED if settings.cascade else None)


def _fitted_in_rounds(
    signature: Signature, data: CalibrationData, settings: CalibrationSettings, reach: float
) -> tuple[GateModule, list[dict[str, Any]]]:
    """The gate, fitted on attacks, then in rounds on attacks on itself; and figures of each round.

    Signatures of the images are the largest that there is in memory; they are let go when this returns.
    """
    fit = partial(_fitted, signature, data, settings)
    progress = settings.progress or quiet
    tables = {}
    for split, sets in data.sets.items():
        told = shares(progress, f"fit: what {split} shows")
        tables[split] = feature_tables.table(signature, sets, told=told)
    progress("fit: heads", 0, 1)
    return adversarial_rounds.harden(fit(tables), data.sets, tables, fit, settings, reach)


def _fitted(
    signature: Signature, data: CalibrationData, settings: CalibrationSettings, tables: dict[str, feature_tables.Table]
) -> GateModule:
    """Fit the heads on *fit* and *select*, and set their thresholds on clean images of *calibrate*."""
    fit, select, kind, clean = tables["fit"], tables["select"], settings.recipe.head, data.clean("calibrate")
    head = heads.fitted(
        signature, fit, select, kind=kind, seed=settings.seed, flagged=threshold.flagged(clean, settings),
        cascade=settings.cascade,
    )  # fmt: skip
    clean_only = None if kind == "distance" else heads.clean_only(signature, fit, select)
    return threshold.with_threshold(signature, head, clean_only, data, settings)


def _sample(data: CalibrationData) -> Floats:
    """The first images of *fit*, clean and after each attack."""
    fit, first = data.sets["fit"], slice(max(BATCHES))
    return np.concatenate([fit.clean[first], *(twins.pixels[first] for twins in fit.attacked.values())])
