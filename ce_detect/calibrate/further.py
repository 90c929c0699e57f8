"""Images that a calibration gets beside its own: clean ones from where the gate will stand, and attacks found there."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import count

import numpy as np

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate import enough
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.core.errors import InputError
from ce_detect.core.types import Index
from ce_detect.data import Images, Pixels, rows, splits, validation
from ce_detect.fitting.feature_tables import Sets

logger = logging.getLogger("ce_detect")

REVIEWED = "reviewed"
"""What the attacks are called among others."""

LEAST = {"fit": 16, "select": 4}
"""Successes of an attack in a split below which it teaches nothing."""

Further = tuple[dict[str, Pixels], splits.Identities]
"""Images by split, and the identities of all."""


def clean(images: Images, known: splits.Identities, settings: CalibrationSettings) -> Further:
    """The images of ``also_clean`` in splits, each once and without those that are known already.

    Args:
        images: of the calibration.
        known: their identities.
        settings: of the calibration.

    Raises:
        InputError: images of another shape, or outside the bounds.
        TooFewSamplesError: too few for the promise that is asked for.
    """
    if settings.also_clean is None:
        return {}, known[:0]
    pixels, identities, kept = _distinct("also_clean", settings.also_clean, images, known)
    enough.check(len(kept), settings, of="also_clean")
    parts = splits.split(identities[kept], settings.recipe.splits, settings.seed)
    return {split: rows(pixels, kept[part]) for split, part in parts.items()}, identities[kept]


def attacked(images: Images, known: splits.Identities, settings: CalibrationSettings) -> Further:
    """The images of ``also_attacked`` in *fit* and *select*; empty where they are too few to learn from.

    One that is among the clean images is left out, and a warning says so. What looks alike stays on one side: an
    attacker sends one image in many variants.

    Args:
        images: of the calibration.
        known: identities of all that is clean.
        settings: of the calibration.

    Raises:
        InputError: images of another shape, or outside the bounds.
    """
    if settings.also_attacked is None:
        return {}, known[:0]
    pixels, identities, kept = _distinct("also_attacked", settings.also_attacked, images, known)
    if doubtful := np.isin(identities, known).sum():
        logger.warning("%d images of also_attacked are among the clean images as well; they are left out", doubtful)
    shares = {split: settings.recipe.splits[split] for split in LEAST}
    shares = {split: share / sum(shares.values()) for split, share in shares.items()}
    alike = splits.near_copies(rows(pixels, kept), images.bounds or validation.found_bounds(pixels))
    different = len(np.unique(alike))
    parts = splits.split(alike, shares, settings.seed) if different else {}
    if any(len(parts.get(split, ())) < least for split, least in LEAST.items()):
        needed = next(n for n in count(1) if all(splits.sizes(n, shares)[s] >= LEAST[s] for s in LEAST))
        logger.warning(
            "nothing is learned from %d images of also_attacked, %d of which look different; %d of these would do",
            len(kept), different, needed,
        )  # fmt: skip
        return {}, known[:0]
    return {split: rows(pixels, kept[part]) for split, part in parts.items()}, identities[kept]


def joined(sets: Sets, reviewed: Pixels) -> Sets:
    """What a split teaches, with attacks that have no clean twin; each is told to be of an image of its own."""
    found = AttackedSet(Attack(REVIEWED, (), REVIEWED), reviewed, np.arange(len(reviewed)))
    return replace(sets, attacked={**sets.attacked, REVIEWED: found})


def _distinct(
    what: str, given: Images, images: Images, known: splits.Identities
) -> tuple[Pixels, splits.Identities, Index]:
    """Pixels within the bounds of the others, their identities, and positions of those that are new, each once."""
    pixels = given.pixels if images.bounds is None else given.within(images.bounds).pixels
    try:
        validation.check_all(
            pixels, input_shape=images.pixels.shape[1:], bounds=images.bounds or validation.found_bounds(pixels)
        )
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    identities = splits.identities(pixels)
    first = splits.first_of_each(identities)
    return pixels, identities, first[~np.isin(identities[first], known)]
