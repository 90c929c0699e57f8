"""What a calibration learns from: images in splits, attacked, and checked for whether anything can be learned."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.calibrate import enough, further, sanity, variants
from ce_detect.calibrate.decisions import decisions, successes
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Index, Progress
from ce_detect.data import Images, Pixels, rows, splits
from ce_detect.fitting import feature_tables

logger = logging.getLogger("ce_detect")


@dataclass(frozen=True, slots=True)
class Divided:
    """Images of a calibration in splits.

    Attributes:
        images: all of them, each once.
        identities: of each, see `ce_detect.data.splits.identities`.
        parts: positions by split.
        beside: images of ``also_clean`` by split, none of which is among the others.
        reviewed: images of ``also_attacked`` in *fit* and *select*; none of them is among the clean ones.
        beside_identities: of all these.
    """

    images: Images
    identities: splits.Identities
    parts: dict[str, Index]
    beside: dict[str, Pixels]
    reviewed: dict[str, Pixels]
    beside_identities: splits.Identities

    def clean(self, split: str) -> Pixels:
        """Clean images of a split."""
        return rows(self.images.pixels, self.parts[split])

    def labels(self, split: str) -> Index | None:
        """True classes of the images of a split; None where they are not known."""
        return None if self.images.y is None else self.images.y[self.parts[split]]


@dataclass(frozen=True, slots=True)
class CalibrationData(Divided):
    """What a calibration learns from.

    Attributes:
        decided: labels ``(n,)`` that the classifier gives the images.
        sets: the splits ``"fit"`` and ``"select"`` with the successes of the attacks that teach something.
        tested: attempts on the split ``"test"`` by name of the attack.
    """

    decided: Index
    sets: dict[str, feature_tables.Sets]
    tested: dict[str, AttackedSet]


def divided(images: Images, settings: CalibrationSettings) -> Divided:
    """Take each image once and split them by identity; no model is needed for that.

    Raises:
        TooFewSamplesError: too few for the promise that is asked for.
    """
    identities = splits.identities(images.pixels)
    first = splits.first_of_each(identities)
    enough.check(len(first), settings)
    enough.warn_of_the_largest(len(first), settings)
    if len(first) < len(images):
        images, identities = images.subset(first), identities[first]
    parts = splits.split(identities, settings.recipe.splits, settings.seed)
    beside, of_beside = further.clean(images, identities, settings)
    reviewed, of_reviewed = further.attacked(images, np.concatenate([identities, of_beside]), settings)
    return Divided(images, identities, parts, beside, reviewed, np.concatenate([of_beside, of_reviewed]))


def prepare(classifier: Classifier, found: Divided, settings: CalibrationSettings) -> CalibrationData:
    """Attack the images, and keep what teaches something.

    Raises:
        CalibrationError: data or attacks from which nothing can be learned.
    """
    images, parts = found.images, found.parts
    decided = decisions(classifier, images.pixels)
    sanity.check(classifier, images, decided)
    attacked = _attacked(classifier, images, parts, settings)
    fooled = {split: successes(classifier, attacked[split], decided[parts[split]]) for split in ("fit", "select")}
    attacks = _teaching(settings.recipe, fooled)
    sets = {
        split: variants.teaching(
            classifier, rows(images.pixels, parts[split]), decided[parts[split]],
            {attack: twins[attack] for attack in attacks}, settings, found.beside.get(split),
        )
        for split, twins in fooled.items()
    }  # fmt: skip
    for split, pixels in found.reviewed.items():
        sets[split] = further.joined(sets[split], pixels)
    return CalibrationData(
        images, found.identities, parts, found.beside, found.reviewed, found.beside_identities, decided, sets,
        attacked["test"],
    )  # fmt: skip


def _attacked(
    classifier: Classifier, images: Images, parts: dict[str, Index], settings: CalibrationSettings
) -> dict[str, dict[str, AttackedSet]]:
    """Attack the splits that need it; each gets its share of the attack time."""
    sizes = {split: len(parts[split]) for split in ("fit", "select", "test")}
    attacked: dict[str, dict[str, AttackedSet]] = {}
    for split, size in sizes.items():
        seconds = None if settings.attack_time is None else settings.attack_time * size / sum(sizes.values())
        before = sum(sizes[earlier] for earlier in attacked)
        clean = rows(images.pixels, parts[split])
        attacked[split] = {} if not size else attack_all(
            classifier, clean, settings.recipe.attacks, seed=settings.seed, cache=settings.cache,
            jobs=settings.jobs, seconds=seconds, progress=_of_all(settings.progress, before, size, sum(sizes.values())),
        )  # fmt: skip
    return attacked


def _of_all(progress: Progress | None, before: int, size: int, images: int) -> Progress | None:
    """Progress of one split of so many images, told as progress of all splits."""
    if progress is None:
        return None
    return lambda description, done, total: progress(description, before + size * done / total, images)


def _teaching(recipe: Recipe, found: dict[str, dict[str, AttackedSet]]) -> tuple[str, ...]:
    """Names of the attacks that succeed often enough to be learned from, in each of *fit* and *select*."""
    counts = {
        attack.name: {split: len(part[attack.name]) if attack.name in part else 0 for split, part in found.items()}
        for attack in recipe.attacks
    }
    enough = tuple(
        name for name, count in counts.items() if all(count[split] >= further.LEAST[split] for split in count)
    )
    for name in sorted(set(counts) - set(enough)):
        logger.warning(
            "attack %s succeeded only %d times; nothing is learned from it", name, sum(counts[name].values())
        )
    if recipe.attacks and not enough:
        listed = ", ".join(f"{name}: {count['fit']} and {count['select']}" for name, count in counts.items())
        raise CalibrationError(
            f"no attack succeeded at least {further.LEAST['fit']} times in the fit split and "
            f"{further.LEAST['select']} times in the select split ({listed}). Raise their strength in the recipe, "
            "allow more attack time, give more images, or use the recipe 'clean-only'"
        )
    return enough
