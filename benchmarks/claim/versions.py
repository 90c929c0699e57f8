"""The versions of an image that are compared: clean, after natural change, attacked, and the attack shuffled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.face import MILD, Floats, Images, Shuffled, attack_all, controls, distinct, mixture
from benchmarks.program import progress
from benchmarks.subjects.settings import SEED
from benchmarks.subjects.subjects import Subject
from ce_detect import Attack, DetectedModel, Recipe

ATTACKS = ("fgsm 8/255", "pgd 2/255", "pgd 8/255", "cw-l2", "square 8/255")
"""One step, weak and strong, the smallest change that works, and one that asks for scores alone."""


@dataclass(frozen=True)
class Versions:
    """Images as an 8-bit file holds them, in several versions.

    Attributes:
        clean: ``(n, channels, height, width)``, each image once.
        natural: the same, each under one kind of natural change.
        attacked: the same under each attack.
        shuffled: the same with each attack's perturbation, its pixels in another order.
    """

    clean: Floats
    natural: Floats
    attacked: dict[str, Floats]
    shuffled: dict[str, Floats]


def versions(subject: Subject, guard: DetectedModel, fresh: Images, count: int, jobs: int | None) -> Versions:
    """Make the versions of the first so many images; attacked ones come from the cache, or are made."""
    clean = fresh.x[:count]
    clean = clean[distinct(clean)]
    bounds = guard.classifier.bounds
    made = attack_all(guard.classifier, clean, tuple(_attacks(subject)), seed=SEED, jobs=jobs, progress=progress)
    attacked = {name: controls.rounded(twins.x, bounds) for name, twins in made.items()}
    shuffled = {name: np.asarray(Shuffled(twins, clean, bounds, SEED)) for name, twins in attacked.items()}
    return Versions(clean, mixture(clean, MILD, share=1.0, bounds=bounds, seed=SEED), attacked, shuffled)


def _attacks(subject: Subject) -> Iterator[Attack]:
    """Those of `ATTACKS` that a subject has, as it has them: large models get fewer steps."""
    for attack in (*Recipe.load(subject.recipe).attacks, *(attack for attack, _ in subject.unseen)):
        if attack.name in ATTACKS:
            yield attack
