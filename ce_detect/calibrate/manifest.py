"""The manifest of a calibration: what was asked for, what came of it, on what, and the figures."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from typing import Any

from ce_detect.artifacts.features import FakenessPart, LayerConsistencyPart, ShapleyPart
from ce_detect.artifacts.figures import Figures
from ce_detect.artifacts.manifest import (
    DataPart,
    DeployPart,
    Manifest,
    ModelPart,
    RecipePart,
    SignaturePart,
)
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.search.ledger import Chosen
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.resizing import Resizing
from ce_detect.core.version import VERSION
from ce_detect.data import splits
from ce_detect.detector.gate import GateModule
from ce_detect.detector.serialization import kinds_of, probe_logits
from ce_detect.heads.cascade import CascadedHead

_PACKAGES = ("torch", "adversarial-robustness-toolbox", "scikit-learn", "numpy")


def manifest(
    classifier: Classifier,
    data: CalibrationData,
    settings: CalibrationSettings,
    chosen: Chosen,
    gate: GateModule,
    figures: dict[str, Any],
    deploy: DeployPart | None,
) -> Manifest:
    """Describe a calibration.

    Args:
        classifier: the wrapped model.
        data: what it was calibrated on.
        settings: what was asked for.
        chosen: the outcome of the search.
        gate: what came of it.
        figures: what was measured, by the names that JSON has for `ce_detect.artifacts.manifest.Figures`.
        deploy: the graph that the threshold belongs to; None for the gate itself.
    """
    return Manifest(
        fpr=float(settings.fpr),
        guarantee=settings.guarantee,
        confidence=float(settings.confidence),
        budget=None if math.isinf(settings.budget) else float(settings.budget),
        cascade=isinstance(gate.head, CascadedHead),
        seed=settings.seed,
        secret_seed=settings.secret_seed is not None,
        recipe=_recipe(settings.recipe, tuple(data.sets["fit"].attacked)),
        model=_model(classifier, data.images.resizing),
        signature=_signature(chosen, gate),
        heads=kinds_of(gate),
        data=_data(data),
        search=chosen.ledger,
        versions=_versions(),
        figures=Figures.of(figures),
        deploy=deploy,
    )


def _recipe(recipe: Recipe, learned_from: tuple[str, ...]) -> RecipePart:
    return RecipePart(
        name=recipe.name,
        head=recipe.head,
        prevalence=recipe.prevalence,
        splits=dict(recipe.splits),
        attacks=[attack.spec() for attack in recipe.attacks],
        learned_from=list(learned_from),
        corruptions=[corruption.spec() for corruption in recipe.corruptions],
        corrupted=recipe.corrupted if recipe.corruptions else 0.0,
    )


def _model(classifier: Classifier, resizing: Resizing | None) -> ModelPart:
    channels, height, width = classifier.input_shape
    return ModelPart(
        fingerprint=classifier.fingerprint(),
        probe_logits=probe_logits(classifier),
        input_shape=(channels, height, width),
        bounds=classifier.bounds,
        num_classes=classifier.num_classes,
        multi_label=classifier.multi_label,
        label=classifier.label,
        output=classifier.output,
        resizing=resizing,
        sites=classifier.sites,
    )


def _signature(chosen: Chosen, gate: GateModule) -> SignaturePart:
    compared, shapley = chosen.layer_consistency, chosen.shapley
    return SignaturePart(
        interventions=[intervention.spec() for intervention in chosen.interventions],
        names=[intervention.name for intervention in chosen.interventions],
        sites=chosen.sites,
        layer_consistency=None if compared is None else LayerConsistencyPart(**compared.spec()),
        shapley=None if shapley is None else ShapleyPart(**shapley.spec()),
        fakeness=None if chosen.fakeness is None else FakenessPart(**chosen.fakeness.spec()),
        features=len(gate.signature.names),
        chunk=gate.signature.chunk,
    )


def _data(data: CalibrationData) -> DataPart:
    images = data.images
    sizes = {name: len(part) for name, part in data.parts.items()}
    return DataPart(fingerprint=splits.fingerprint(images.pixels), images=len(images), splits=sizes)


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "ce-detect": VERSION,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }
