"""What counts as clean beside a plain image, and as attacked beside a fresh attack: images as they arrive.

An input was saved, scaled, touched up. So a clean image also appears after natural change, drawn at random for each
image, and as a control: with an attack's perturbation whose pixels are shuffled. An attacked one also appears after the
same natural change, where it still fools the classifier.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ce_detect.attacks import controls
from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate.decisions import decisions
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.types import Bounds, Floats, Index
from ce_detect.data import Concatenated, Mapped, Pixels, rows
from ce_detect.data.corruptions import generator_for, mixture
from ce_detect.fitting.feature_tables import Sets

NATURAL = 6
"""Times that each clean image appears after natural change, each time another one."""

TREATED = 6
"""Times that each attacked image appears after natural change, where it still fools the classifier."""

PERTURBATIONS = 16
"""Perturbations of each attack that controls are made from: once shuffled, only how large they are is left of them."""


def corrupted(
    classifier: Classifier, x: Pixels, settings: CalibrationSettings, *, share: float, turn: int = 0
) -> Pixels:
    """Images after natural change that the recipe names, each in a variant drawn for it.

    Args:
        classifier: its bounds are kept.
        x: images ``(n, channels, height, width)``.
        settings: with the recipe, and the seed that says which image gets which corruption.
        share: of the images that are changed.
        turn: another number, another draw.
    """
    seed = settings.seed + 1000 * turn
    change = partial(mixture, corruptions=settings.recipe.corruptions, share=share, bounds=classifier.bounds, seed=seed)
    return Mapped(x, change)


def shuffled(classifier: Classifier, clean: Pixels, attacked: dict[str, AttackedSet], seed: int) -> Pixels:
    """Clean images, each with a shuffled perturbation of an attack on one of them, drawn at random.

    Args:
        classifier: its bounds are kept.
        clean: images ``(n, channels, height, width)``.
        attacked: attacks on them, at least one and none empty.
        seed: seed of the draws.
    """
    some = [twins.subset(slice(PERTURBATIONS)) for twins in attacked.values()]
    perturbations = [twins.x - np.asarray(rows(clean, twins.index)) for twins in some]
    return Mapped(clean, partial(_shuffled, perturbations=perturbations, bounds=classifier.bounds, seed=seed))


def _shuffled(x: Floats, *, perturbations: list[Floats], bounds: Bounds, seed: int) -> Floats:
    changed = np.empty_like(x)
    for position, image in enumerate(x):
        draw = generator_for(seed, "control", image)
        of_attack = perturbations[draw.integers(len(perturbations))]
        one = of_attack[draw.integers(len(of_attack))]
        changed[position] = controls.shuffled(image, one, bounds=bounds, generator=draw)
    return changed


def teaching(
    classifier: Classifier, clean: Pixels, decided: Index, attacked: dict[str, AttackedSet],
    settings: CalibrationSettings, beside: Pixels | None = None,
) -> Sets:  # fmt: skip
    """What a split teaches: clean images and successful attacks, with their variants where the recipe has corruptions.

    Args:
        classifier: what was attacked.
        clean: images ``(n, channels, height, width)``.
        decided: its decisions ``(n,)`` on them.
        attacked: attacks that fool it, by name.
        settings: with the recipe.
        beside: further images that count as clean.
    """
    variants: list[Pixels] = []
    if len(clean) and settings.recipe.corruptions:
        variants += [corrupted(classifier, clean, settings, share=1.0, turn=turn) for turn in range(NATURAL)]
    if len(clean) and attacked:
        variants.append(shuffled(classifier, clean, attacked, settings.seed))
    further = variants if beside is None else [*variants, beside]
    treated = {name: with_treated(classifier, decided, twins, settings) for name, twins in attacked.items()}
    return Sets(clean, treated, Concatenated(further) if further else None, len(variants))


def with_treated(
    classifier: Classifier, decided: Index, twins: AttackedSet, settings: CalibrationSettings
) -> AttackedSet:
    """Attacked images as they are, then those that still fool the classifier after natural change."""
    if not settings.recipe.corruptions or not len(twins):
        return twins
    found = [twins]
    for turn in range(TREATED):
        pixels = corrupted(classifier, twins.pixels, settings, share=1.0, turn=turn)
        found.append(replace(twins, pixels=pixels).subset(decisions(classifier, pixels) != decided[twins.index]))
    index = np.concatenate([part.index for part in found])
    return replace(twins, pixels=Concatenated([part.pixels for part in found]), index=index)
