"""What a calibration learns from: images in splits, attacked, and checked for whether anything can be learned."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.calibrate import sanity
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError, TooFewSamplesError
from ce_detect.data import Images, Mapped, Pixels, rows, splits, tensors, validation
from ce_detect.data.corruptions import mixture
from ce_detect.fitting import heads
from ce_detect.verdict import conformal

logger = logging.getLogger("ce_detect")

MIN_FIT, MIN_SELECT = 16, 4
"""Successes in the *fit* and the *select* split below which an attack teaches nothing."""

MIN_CLEAN = 50
"""Clean images in *fit* below which no detector is learned."""


@dataclass(frozen=True, slots=True)
class CalibrationData:
    """Images of a calibration.

    Attributes:
        images: all of them, each once.
        known: their identities, see `ce_detect.data.splits.identities`.
        parts: positions by split.
        sets: the splits ``"fit"`` and ``"select"`` with the successes of the attacks that teach something.
        tested: attempts on the split ``"test"`` by name of the attack.
    """

    images: Images
    known: splits.Identities
    parts: dict[str, NDArray[np.int64]]
    sets: dict[str, heads.Sets]
    tested: dict[str, AttackedSet]

    def clean(self, split: str) -> Pixels:
        """Clean images of a split."""
        return rows(self.images.pixels, self.parts[split])


def gathered(classifier: Classifier, images: Images, request: CalibrationSettings) -> CalibrationData:
    """Split the images by identity, attack them, and keep what teaches something.

    Raises:
        InputError: images that cannot be judged.
        TooFewSamplesError: too few for the promise that is asked for.
        CalibrationError: data or attacks from which nothing can be learned.
    """
    validation.check_all(images.pixels, input_shape=classifier.input_shape, bounds=classifier.bounds)
    known = splits.identities(images.pixels)
    first = splits.first_of_each(known)
    if len(first) < len(images):
        images, known = images.subset(first), known[first]
    recipe = request.recipe
    parts = splits.split(known, recipe.splits, request.seed)
    _check_sizes(parts, images, request)
    labels = decisions(classifier, images.pixels)
    _check_classes(labels, classifier.num_classes)
    sanity.check(classifier, images, labels)
    attacked = _attacked(classifier, images, parts, request)
    learning = {name: successes(classifier, attacked[name], labels[parts[name]]) for name in ("fit", "select")}
    attacks = _teaching(recipe, learning)
    sets = {
        name: heads.Sets(
            rows(images.pixels, parts[name]),
            {attack: learning[name][attack] for attack in attacks},
            corrupted(classifier, rows(images.pixels, parts[name]), request, share=1.0),
        )
        for name in ("fit", "select")
    }
    return CalibrationData(images, known, parts, sets, attacked["test"])


def _check_sizes(parts: dict[str, NDArray[np.int64]], images: Images, request: CalibrationSettings) -> None:
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


def decisions(classifier: Classifier, x: Pixels) -> NDArray[np.int64]:
    """Labels ``(n,)`` that the classifier gives images."""
    labels, done = np.empty(len(x), np.int64), 0  # many small arrays would scatter over the memory that batches need
    with torch.inference_mode():
        for batch in tensors.batches(x, 128, classifier.device):
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
    classifier: Classifier, images: Images, parts: dict[str, NDArray[np.int64]], request: CalibrationSettings
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


def successes(
    classifier: Classifier, attacked: dict[str, AttackedSet], labels: NDArray[np.int64]
) -> dict[str, AttackedSet]:
    """Keep what changed the classifier's decision."""
    return {
        name: twins.subset(decisions(classifier, twins.pixels) != labels[twins.index])
        for name, twins in attacked.items()
    }


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


def corrupted(classifier: Classifier, clean: Pixels, request: CalibrationSettings, *, share: float) -> Pixels | None:
    """Clean images in the variants that the recipe counts as clean; None where it has none."""
    recipe = request.recipe
    if not recipe.corruptions or not len(clean):
        return None
    variant = partial(mixture, corruptions=recipe.corruptions, share=share, bounds=classifier.bounds, seed=request.seed)
    return Mapped(clean, variant)
