"""The manifest: what was calibrated, how, and on what, as plain data."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from typing import Any

import ce_detect
from ce_detect.calibrate import identity
from ce_detect.calibrate.material import Material
from ce_detect.calibrate.request import Request
from ce_detect.calibrate.search import Chosen
from ce_detect.detector.cascade import CascadedHead
from ce_detect.detector.gate import Gate
from ce_detect.detector.stored import probe_logits


def manifest(
    classifier: Any, material: Material, request: Request, chosen: Chosen, gate: Gate, figures: dict[str, Any]
) -> dict[str, Any]:
    """Describe a calibration.

    Args:
        classifier: the wrapped model.
        material: what it was calibrated on.
        request: what was asked for.
        chosen: the outcome of the search.
        gate: what came of it.
        figures: what was measured.
    """
    recipe, images = request.recipe, material.images
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
            "learned_from": list(material.sets["fit"].attacked),
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
            "recovery": None if chosen.recovery is None else chosen.recovery.spec(),
            "features": len(gate.signature.names),
            "chunk": gate.signature.chunk,
        },
        "data": {
            "fingerprint": identity.fingerprint(images.pixels),
            "images": len(images),
            "splits": {name: len(part) for name, part in material.parts.items()},
        },
        "search": chosen.ledger,
        "versions": _versions(),
        "figures": figures,
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "adversarial-robustness-toolbox", "scikit-learn", "numpy")
    return {
        "python": platform.python_version(),
        "ce-detect": ce_detect.__version__,
        **{name: importlib.metadata.version(name) for name in packages},
    }
