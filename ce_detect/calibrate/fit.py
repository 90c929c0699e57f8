"""Calibration: split, attack, search, fit, set the threshold, measure."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import ce_detect
from ce_detect import inputs
from ce_detect.cache import cache_folder
from ce_detect.calibrate import learn
from ce_detect.calibrate.cost import CostTable
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.search import Chosen, Meter, search
from ce_detect.calibrate.sets import AttackedSet, Progress, attack_all, distinct, split_by_identity
from ce_detect.data import Images
from ce_detect.detector import conformal
from ce_detect.detector.gate import Gate
from ce_detect.detector.stored import probe_logits
from ce_detect.errors import CalibrationError, TooFewSamplesError
from ce_detect.evaluate import report
from ce_detect.signature import Signature

logger = logging.getLogger("ce_detect")

BATCH = 32
"""Inputs in the batch on which the budget is measured."""

MIN_FIT, MIN_SELECT = 16, 4
"""Successes in the *fit* and the *select* split below which an attack teaches nothing."""

MIN_CLEAN = 50
"""Clean images in *fit* below which no detector is learned."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a calibration is asked for; see `ce_detect.DetectedModel.calibrate`."""

    recipe: Recipe
    fpr: float
    budget: float
    guarantee: conformal.Guarantee
    confidence: float
    seed: int
    attack_seconds: float | None
    cache: Path | None
    jobs: int | None
    progress: Progress | None

    def __post_init__(self) -> None:
        if not self.budget > 1:
            raise CalibrationError(
                f"budget = {self.budget}: a gated forward runs the model once, so it must be above 1.0; "
                "2.0 means twice the time of the model alone"
            )


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A gate, and plain data about how it came to be."""

    gate: Gate
    manifest: dict[str, Any]


def calibrate(classifier: Any, bare: nn.Module, images: Images, request: Request) -> Calibrated:
    """Make a gate for a classifier; see `ce_detect.DetectedModel.calibrate`.

    Args:
        classifier: the wrapped model.
        bare: the model as the user runs it; its time is 1.0 in the budget.
        images: clean images and, where known, their labels.
        request: what is asked for.
    """
    inputs.checked(images.x, input_shape=classifier.input_shape, bounds=classifier.bounds)
    images = images.subset(distinct(images.x))
    recipe = request.recipe
    parts = split_by_identity(images.x, recipe.splits, request.seed)
    _check_sizes(parts, images, request)
    labels = _labels(classifier, images.x)
    _check_classes(labels, classifier.num_classes)
    attacked = _attacked(classifier, images, parts, request)
    learning = {name: _successes(classifier, attacked[name], labels[parts[name]]) for name in ("fit", "select")}
    attacks = _teaching(recipe, learning)
    table = CostTable(request.cache or cache_folder(), classifier, batch=BATCH)
    sample = torch.from_numpy(images.x[parts["fit"]][:BATCH]).to(classifier.device)
    meter = Meter(classifier, bare, sample, table, recipe.head)
    sets = {
        name: learn.Sets(images.x[parts[name]], {attack: learning[name][attack] for attack in attacks})
        for name in ("fit", "select")
    }
    chosen, cost = search(classifier, sets, meter, recipe=recipe, budget=request.budget, seed=request.seed)
    signature = meter.signature(list(chosen.items))
    head = learn.head(signature, sets, kind=recipe.head, seed=request.seed)
    gate = _gate(signature, head, images.x[parts["calibrate"]], request)
    test = images.subset(parts["test"])
    figures = None
    if len(test):
        figures = report.evaluate(gate, test.x, test.y, attacked["test"], target=request.fpr).to_dict()
    manifest = _manifest(classifier, images, parts, request, attacks, chosen, gate)
    manifest["figures"] = {"cost": round(cost, 3), "test": figures}
    return Calibrated(gate, manifest)


def _check_sizes(parts: dict[str, NDArray[np.int64]], images: Images, request: Request) -> None:
    """Refuse before the attacks, which take the time."""
    try:
        conformal.rank(len(parts["calibrate"]), request.fpr, guarantee=request.guarantee, confidence=request.confidence)
    except TooFewSamplesError as error:
        share = request.recipe.splits["calibrate"]
        total = math.ceil(error.needed / share) if share else error.needed
        raise TooFewSamplesError(
            f"{error}. Of the {len(images)} images given, the recipe keeps {share:.0%} for the "
            f"threshold: {total} distinct "
            "images in all would do",
            needed=total,
            given=len(images),
        ) from None
    if len(parts["fit"]) < MIN_CLEAN:
        raise TooFewSamplesError(
            f"{len(parts['fit'])} of {len(images)} images are left to learn from, at least {MIN_CLEAN} are needed",
            needed=math.ceil(MIN_CLEAN / request.recipe.splits["fit"]),
            given=len(images),
        )


def _labels(classifier: Any, x: NDArray[np.float32]) -> NDArray[np.int64]:
    with torch.inference_mode():
        parts = [classifier.logits(part.to(classifier.device)).argmax(1) for part in torch.from_numpy(x).split(128)]
    return np.asarray(torch.cat(parts).cpu().numpy())


def _check_classes(labels: NDArray[np.int64], num_classes: int) -> None:
    if len(np.unique(labels)) < 2:
        raise CalibrationError(
            f"the classifier gives all {len(labels)} images the same label, {labels[0]}, of "
            f"{num_classes}. Calibration needs "
            "images of several classes; check the data, and that its pixels are scaled as the model expects"
        )


def _attacked(
    classifier: Any, images: Images, parts: dict[str, NDArray[np.int64]], request: Request
) -> dict[str, dict[str, AttackedSet]]:
    """Attack the splits that need it; each gets its share of the attack time."""
    sizes = {name: len(parts[name]) for name in ("fit", "select", "test")}
    attacked = {}
    for name, size in sizes.items():
        seconds = None if request.attack_seconds is None else request.attack_seconds * size / sum(sizes.values())
        attacked[name] = {} if not size else attack_all(
            classifier, images.x[parts[name]], request.recipe.attacks, seed=request.seed, cache=request.cache,
            jobs=request.jobs, seconds=seconds, progress=request.progress,
        )  # fmt: skip
    return attacked


def _successes(classifier: Any, attacked: dict[str, AttackedSet], labels: NDArray[np.int64]) -> dict[str, AttackedSet]:
    """Keep what changed the classifier's decision."""
    successes = {}
    for name, twins in attacked.items():
        changed = _labels(classifier, twins.x) != labels[twins.index]
        successes[name] = AttackedSet(twins.attack, twins.x[changed], twins.index[changed])
    return successes


def _teaching(recipe: Recipe, learning: dict[str, dict[str, AttackedSet]]) -> tuple[str, ...]:
    """Names of the attacks that succeed often enough to be learned from, in each of *fit* and *select*."""
    counts = {
        attack.name: tuple(len(part[attack.name].x) if attack.name in part else 0 for part in learning.values())
        for attack in recipe.attacks
    }
    enough = tuple(name for name, (fit, select) in counts.items() if fit >= MIN_FIT and select >= MIN_SELECT)
    for name in sorted(set(counts) - set(enough)):
        logger.warning("attack %s succeeded only %d times; nothing is learned from it", name, sum(counts[name]))
    if recipe.attacks and not enough:
        listed = ", ".join(f"{name}: {fit} and {select}" for name, (fit, select) in counts.items())
        raise CalibrationError(
            f"no attack succeeded at least {MIN_FIT} times in the fit split and {MIN_SELECT} times in the select split "
            f"({listed}). Raise their strength in the recipe, allow more attack time, give more images, or use the "
            "recipe 'clean-only'"
        )
    return enough


def _gate(signature: Signature, head: Any, clean: NDArray[np.float32], request: Request) -> Gate:
    head = head.to(signature.classifier.device)
    _, features = learn.features(signature, clean)
    with torch.inference_mode():
        scores = head(torch.from_numpy(features).to(signature.classifier.device)).cpu()
    threshold = conformal.threshold(
        scores.numpy(), request.fpr, guarantee=request.guarantee, confidence=request.confidence
    )
    gate = Gate(signature, head, clean_scores=scores, threshold=threshold, prevalence=request.recipe.prevalence)
    return gate.eval().to(signature.classifier.device)


def _manifest(
    classifier: Any,
    images: Images,
    parts: dict[str, NDArray[np.int64]],
    request: Request,
    attacks: tuple[str, ...],
    chosen: Chosen,
    gate: Gate,
) -> dict[str, Any]:
    recipe = request.recipe
    return {
        "fpr": request.fpr,
        "guarantee": request.guarantee,
        "confidence": request.confidence,
        "budget": None if math.isinf(request.budget) else request.budget,
        "seed": request.seed,
        "recipe": {
            "name": recipe.name,
            "head": recipe.head,
            "prevalence": recipe.prevalence,
            "splits": dict(recipe.splits),
            "attacks": [attack.spec() for attack in recipe.attacks],
            "learned_from": list(attacks),
        },
        "model": {
            "fingerprint": classifier.fingerprint(),
            "probe_logits": probe_logits(classifier),
            "input_shape": list(classifier.input_shape),
            "bounds": list(classifier.bounds),
            "num_classes": classifier.num_classes,
            "sites": list(classifier.sites),
        },
        "signature": {
            "interventions": [intervention.spec() for intervention in chosen.interventions],
            "names": [intervention.name for intervention in chosen.interventions],
            "sites": list(chosen.sites),
            "features": len(gate.signature.names),
            "chunk": gate.signature.chunk,
        },
        "data": {
            "fingerprint": hashlib.sha256(images.x.tobytes()).hexdigest(),
            "images": len(images),
            "splits": {name: len(part) for name, part in parts.items()},
        },
        "search": chosen.ledger,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "adversarial-robustness-toolbox", "scikit-learn", "numpy")
    return {
        "python": platform.python_version(),
        "ce-detect": ce_detect.__version__,
        **{name: importlib.metadata.version(name) for name in packages},
    }
