"""Before a gate is bought: how easily a model is fooled, what nature does to it, and what a gate would catch.

Everything is measured on images that the gate's calibration does not see, and that the model was not trained on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.calibrate import sanity
from ce_detect.calibrate.decisions import decisions
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Progress
from ce_detect.data import Images, splits
from ce_detect.data.corruptions import MILD
from ce_detect.evaluate import report
from ce_detect.evaluate.assessment import Borne, Choice, Fooled, borne, choices, fooled, saved
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.guard.proposal import promise_for

logger = logging.getLogger("ce_detect")

HELD_OUT, ATTACKED = 200, 100
"""Images that everything is measured on, and those of them that are attacked, at most."""

CALIBRATION = {True: 800, False: 300}
"""Images that the gate is calibrated on, at most, where their shorter side is small, and where it is not."""

SMALL = 64
"""Shorter side, in pixels, up to which an image is small."""

NATURAL = tuple(corruption for corruption in MILD if corruption.severity == 1)
"""Natural changes that are looked at."""

MEASURING = 0.35
"""Share of the time for attacks that goes into measuring; the gate learns from the others."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an assessment is asked for.

    Attributes:
        attacks: what is tried; none for `attacks_on`.
        recipe: of the gate; None for ``quick``, or ``black-box`` where there are no gradients.
        budget: largest cost of a gated forward.
        attack_time: seconds in which new attacks are started, in all.
        seed: of everything.
        cache: see `ce_detect.CalibrationSettings`, as all that follow.
        jobs: processes that attack.
        progress: called with what is being done.
    """

    attacks: tuple[Attack, ...] = ()
    recipe: str | None = None
    budget: float = 2.0
    attack_time: float | None = None
    seed: int = 0
    cache: Path | None = None
    jobs: int | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found.

    Attributes:
        classes, input_shape, bounds, differentiable: of the model.
        images: that everything was measured on.
        accuracy: of the model on them; None without labels.
        fooled: the model alone under attack, by name of the attack.
        borne: the model alone under natural change, by name of the change.
        guard: a gate that was calibrated for it with a quick recipe; None where none could be made.
        report: of that gate; None without one.
        choices: what it would catch at which false-alarm rate.
        why_not: why there is no gate; empty where there is one.
    """

    classes: int
    input_shape: tuple[int, ...]
    bounds: tuple[float, float]
    differentiable: bool
    images: int
    accuracy: float | None
    fooled: dict[str, Fooled]
    borne: dict[str, Borne]
    guard: DetectedModel | None
    report: report.Report | None
    choices: list[Choice]
    why_not: str


def attacks_on(classifier: Classifier) -> tuple[Attack, ...]:
    """What is tried: one attack at several strengths, the smallest change that does, and queries alone."""
    square = [Attack.of("square", eps=f"{levels}/255", max_iter=200) for levels in (4, 8)]
    if not classifier.differentiable:
        weakest = Attack.of("square", eps="2/255", max_iter=200)
        return weakest, *square, Attack.of("hopskipjump", max_iter=5, max_eval=200)
    pgd = [Attack.of("pgd", eps=f"{levels}/255", eps_step=f"{levels}/1020", max_iter=10) for levels in (1, 2, 4, 8)]
    smallest = Attack.of("cw-l2", binary_search_steps=3, max_iter=10, initial_const=1.0)
    return *pgd, smallest, square[-1]


def assess(guard: DetectedModel, images: Images, asked: Asked) -> Assessment:
    """Measure a model, and a gate that is calibrated for it on the way.

    Args:
        guard: the model, not calibrated yet.
        images: clean ones that it was not trained on; labels are optional.
        asked: limits.

    Raises:
        InputError, ModelError: images or a model that cannot be judged.
    """
    read = guard.wrapped.read(images)
    classifier = guard.wrapped.fit(read)
    held, rest = _divided(read, asked.seed)
    decided = decisions(classifier, held.pixels)
    sanity.check(classifier, held, decided)
    seconds = None if asked.attack_time is None else asked.attack_time * MEASURING
    attacked = attack_all(
        classifier, held.subset(slice(ATTACKED)).pixels, asked.attacks or attacks_on(classifier),
        seed=asked.seed + 1, cache=asked.cache, jobs=asked.jobs, seconds=seconds, progress=asked.progress,
    )  # fmt: skip
    everything = {**attacked, **saved(classifier, attacked)}
    alone = fooled(classifier, held, everything), borne(classifier, held, NATURAL, asked.seed)
    gate, found, why_not = _gate(guard, held, rest, everything, asked)
    clean = None if gate is None else gate.gate.clean_scores.cpu().numpy()
    return Assessment(
        classes=classifier.num_classes,
        input_shape=classifier.input_shape,
        bounds=classifier.bounds,
        differentiable=classifier.differentiable,
        images=len(held),
        accuracy=None if held.y is None else float(np.mean(decided == held.y)),
        fooled=alone[0],
        borne=alone[1],
        guard=gate,
        report=found,
        choices=[] if found is None or clean is None else choices(found, clean),
        why_not=why_not,
    )


def _divided(images: Images, seed: int) -> tuple[Images, Images]:
    """Images to measure on, and images to calibrate on, each image once."""
    first = splits.distinct(images.pixels)
    order = np.random.default_rng(seed).permutation(first)
    held = min(HELD_OUT, max(1, len(order) // 4))
    most = CALIBRATION[min(images.pixels.shape[2:]) <= SMALL]
    return images.subset(np.sort(order[:held])), images.subset(np.sort(order[held : held + most]))


def _gate(
    guard: DetectedModel, held: Images, rest: Images, attacked: dict[str, AttackedSet], asked: Asked
) -> tuple[DetectedModel | None, report.Report | None, str]:
    recipe = asked.recipe or ("quick" if guard.classifier.differentiable else "black-box")
    seconds = None if asked.attack_time is None else asked.attack_time * (1 - MEASURING)
    changes: dict[str, Any] = {
        "recipe": recipe, "budget": asked.budget, "seed": asked.seed, "cache": asked.cache, "jobs": asked.jobs,
        "attack_time": seconds, "progress": asked.progress,
    }  # fmt: skip
    try:
        rate, guarantee = promise_for(len(rest), recipe)
        guard.calibrate(rest, settings=CalibrationSettings.of(fpr=rate, guarantee=guarantee, **changes))
    except CalibrationError as error:
        logger.warning("no gate could be made: %s", error)
        return None, None, str(error)
    found = report.evaluate(
        guard.gate, held.pixels, held.y, attacked, target=rate, corruptions=NATURAL, seed=asked.seed
    )
    return guard, found, ""
