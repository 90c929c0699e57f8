"""The manifest: what was calibrated, how, and on what, as plain data."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from typing import Any

from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.search.search import Chosen
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.version import VERSION
from ce_detect.data import splits
from ce_detect.detector.gate import GateModule
from ce_detect.detector.serialization import probe_logits
from ce_detect.heads.cascade import CascadedHead


def manifest(
    classifier: Classifier,
    data: CalibrationData,
    request: CalibrationSettings,
    chosen: Chosen,
    gate: GateModule,
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Describe a calibration.

    Args:
        classifier: the wrapped model.
        data: what it was calibrated on.
        request: what was asked for.
        chosen: the outcome of the search.
        gate: what came of it.
        figures: what was measured.
    """
    recipe, images = request.recipe, data.images
    return {
        "fpr": request.fpr,
        "guarantee": request.guarantee,
        "confidence": request.confidence,
        "budget": None if math.isinf(request.budget) else request.budget,
        "cascade": isinstance(gate.head, CascadedHead),
        "seed": request.seed,
        "secret_seed": request.secret_seed is not None,
        "recipe": {
            "name": recipe.name,
            "head": recipe.head,
            "prevalence": recipe.prevalence,
            "splits": dict(recipe.splits),
            "attacks": [attack.spec() for attack in recipe.attacks],
            "learned_from": list(data.sets["fit"].attacked),
            "corruptions": [corruption.spec() for corruption in recipe.corruptions],
            "corrupted": recipe.corrupted if recipe.corruptions else 0.0,
        },
        "model": {
            "fingerprint": classifier.fingerprint(),
            "probe_logits": probe_logits(classifier),
            "input_shape": list(classifier.input_shape),
            "bounds": list(classifier.bounds),
            "num_classes": classifier.num_classes,
            "multi_label": classifier.multi_label,
            "label": classifier.label,
            "sites": list(classifier.sites),
        },
        "signature": {
            "interventions": [intervention.spec() for intervention in chosen.interventions],
            "names": [intervention.name for intervention in chosen.interventions],
            "sites": list(chosen.sites),
            "recovery": None if chosen.layer_consistency is None else chosen.layer_consistency.spec(),
            "features": len(gate.signature.names),
            "chunk": gate.signature.chunk,
        },
        "data": {
            "fingerprint": splits.fingerprint(images.pixels),
            "images": len(images),
            "splits": {name: len(part) for name, part in data.parts.items()},
        },
        "search": chosen.ledger,
        "versions": _versions(),
        "figures": figures,
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "adversarial-robustness-toolbox", "scikit-learn", "numpy")
    return {
        "python": platform.python_version(),
        "ce-detect": VERSION,
        **{name: importlib.metadata.version(name) for name in packages},
    }
