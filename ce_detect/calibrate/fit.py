"""Calibration: split, attack, search, fit, set the threshold, measure.

A recipe with corruptions counts them as clean: in *fit* and *select* each clean image appears plain and under one of
them, and the threshold must hold twice, see `ce_detect.detector.conformal`.
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
import platform
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import ce_detect
from ce_detect import checks, inputs
from ce_detect.cache import cache_folder
from ce_detect.calibrate import identity, learn, plausibility
from ce_detect.calibrate.cost import CostTable
from ce_detect.calibrate.meter import BATCHES, Meter
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.search import Chosen, search
from ce_detect.calibrate.sets import AttackedSet, Progress, attack_all
from ce_detect.corruptions import mixture
from ce_detect.data import Images, Mapped, Pixels, rows
from ce_detect.detector import conformal
from ce_detect.detector.gate import Detector, Gate
from ce_detect.detector.head import Head
from ce_detect.detector.stored import probe_logits
from ce_detect.errors import CalibrationError, TooFewSamplesError
from ce_detect.evaluate import report
from ce_detect.signature import Signature

logger = logging.getLogger("ce_detect")

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
    """A gate, and plain data about how it came to be.

    Attributes:
        gate: from inputs to verdicts.
        manifest: what was calibrated, how, and the figures measured then.
        seen: identities of the images that it was calibrated on, see `ce_detect.calibrate.identity.identities`.
        sample: a few of these images, clean and attacked, to hold an exported graph against; not kept on disk.
    """

    gate: Gate
    manifest: dict[str, Any]
    seen: identity.Identities = field(default_factory=lambda: np.zeros(0, np.uint64))
    sample: NDArray[np.float32] | None = None


def calibrate(classifier: Any, bare: nn.Module, images: Images, request: Request) -> Calibrated:
    """Make a gate for a classifier; see `ce_detect.DetectedModel.calibrate`.

    Args:
        classifier: the wrapped model.
        bare: the model as the user runs it; its time is 1.0 in the budget.
        images: clean images and, where known, their labels.
        request: what is asked for.
    """
    checks.check_all(images.pixels, input_shape=classifier.input_shape, bounds=classifier.bounds)
    known = identity.identities(images.pixels)
    first = identity.first_of_each(known)
    if len(first) < len(images):
        images, known = images.subset(first), known[first]
    recipe = request.recipe
    parts = identity.split(known, recipe.splits, request.seed)
    _check_sizes(parts, images, request)
    labels = _labels(classifier, images.pixels)
    _check_classes(labels, classifier.num_classes)
    plausibility.check(classifier, images, labels)
    attacked = _attacked(classifier, images, parts, request)
    learning = {name: _successes(classifier, attacked[name], labels[parts[name]]) for name in ("fit", "select")}
    attacks = _teaching(recipe, learning)
    table = CostTable(request.cache or cache_folder(), classifier, batches=BATCHES)
    sample = torch.from_numpy(images.pixels[parts["fit"][: max(BATCHES)]]).to(classifier.device)
    meter = Meter(classifier, bare, sample, table, recipe.head)
    sets = {
        name: learn.Sets(
            rows(images.pixels, parts[name]),
            {attack: learning[name][attack] for attack in attacks},
            _corrupted(classifier, rows(images.pixels, parts[name]), request, share=1.0),
        )
        for name in ("fit", "select")
    }
    chosen, cost = search(
        classifier, sets, meter, recipe=recipe, budget=request.budget, seed=request.seed,
        cache=request.cache or cache_folder(), labels=None if images.y is None else images.y[parts["select"]],
        progress=request.progress,
    )  # fmt: skip
    signature = meter.signature(list(chosen.items))
    fitting, selecting = (learn.table(signature, sets[name]) for name in ("fit", "select"))
    head = learn.fitted(signature, fitting, selecting, kind=recipe.head, seed=request.seed)
    clean_only = None if recipe.head == "distance" else learn.clean_only(signature, fitting, selecting)
    del fitting, selecting  # the largest that there is in memory
    gate = _gate(signature, head, clean_only, rows(images.pixels, parts["calibrate"]), request)
    test = images.subset(parts["test"])
    figures = None
    if len(test):
        figures = report.evaluate(
            gate, test.pixels, test.y, attacked["test"], target=request.fpr, corruptions=recipe.corruptions,
            seed=request.seed,
        ).to_dict()  # fmt: skip
    manifest = _manifest(classifier, images, parts, request, attacks, chosen, gate)
    manifest["figures"] = {"cost": round(cost, 3), "test": figures}
    return Calibrated(gate, manifest, known, _sample(sets["fit"]))


def _sample(fit: learn.Sets) -> NDArray[np.float32]:
    kept = slice(max(BATCHES))
    return np.concatenate([fit.clean[kept], *(twins.pixels[kept] for twins in fit.attacked.values())])


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


def _labels(classifier: Any, x: Pixels) -> NDArray[np.int64]:
    labels, done = np.empty(len(x), np.int64), 0  # many small arrays would scatter over the memory that batches need
    with torch.inference_mode():
        for batch in inputs.batches(x, 128, classifier.device):
            labels[done : done + len(batch)] = classifier.logits(batch).argmax(1).cpu().numpy()
            done += len(batch)
    return labels


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
        clean = rows(images.pixels, parts[name])
        attacked[name] = {} if not size else attack_all(
            classifier, clean, request.recipe.attacks, seed=request.seed, cache=request.cache,
            jobs=request.jobs, seconds=seconds, progress=request.progress,
        )  # fmt: skip
    return attacked


def _successes(classifier: Any, attacked: dict[str, AttackedSet], labels: NDArray[np.int64]) -> dict[str, AttackedSet]:
    """Keep what changed the classifier's decision."""
    successes = {}
    for name, twins in attacked.items():
        successes[name] = twins.subset(_labels(classifier, twins.pixels) != labels[twins.index])
    return successes


def _teaching(recipe: Recipe, learning: dict[str, dict[str, AttackedSet]]) -> tuple[str, ...]:
    """Names of the attacks that succeed often enough to be learned from, in each of *fit* and *select*."""
    counts = {
        attack.name: tuple(len(part[attack.name]) if attack.name in part else 0 for part in learning.values())
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


def _corrupted(classifier: Any, clean: Pixels, request: Request, *, share: float) -> Pixels | None:
    """Clean images in the variants that the recipe counts as clean; None where it has none."""
    recipe = request.recipe
    if not recipe.corruptions or not len(clean):
        return None
    variant = partial(mixture, corruptions=recipe.corruptions, share=share, bounds=classifier.bounds, seed=request.seed)
    return Mapped(clean, variant)


def _gate(signature: Signature, head: Head, clean_only: Head | None, clean: Pixels, request: Request) -> Gate:
    mixed = _corrupted(signature.classifier, clean, request, share=request.recipe.corrupted)
    variants = [learn.features(signature, x) for x in (clean, mixed) if x is not None]
    beside = None if clean_only is None else Detector(clean_only, **_conformal(clean_only, variants, request))
    gate = Gate(signature, head, **_conformal(head, variants, request), clean_only=beside)
    return gate.eval().to(signature.classifier.device)


def _conformal(head: Head, variants: list[NDArray[np.float32]], request: Request) -> dict[str, Any]:
    """Scores of the plain images, which come first, and the largest of the thresholds that hold for each variant."""
    with torch.inference_mode():
        scores = [head.cpu()(torch.from_numpy(features)) for features in variants]
    thresholds = [
        conformal.threshold(found.numpy(), request.fpr, guarantee=request.guarantee, confidence=request.confidence)
        for found in scores
    ]
    return {"clean_scores": scores[0], "threshold": max(thresholds), "prevalence": request.recipe.prevalence}


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
