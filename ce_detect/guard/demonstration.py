"""The main job on what comes with ce-detect: calibrate, evaluate on held-out images, show some verdicts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ce_detect.artifacts.manifest import Manifest
from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.calibrate import dataset
from ce_detect.calibrate.cost.pytorch import BATCHES
from ce_detect.calibrate.cost.timing import ratios
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.core.types import Floats
from ce_detect.data import Images, load_data
from ce_detect.data.corruptions import MILD, Corruption
from ce_detect.demo.model import fashion_cnn_light
from ce_detect.detector.inference import Inference
from ce_detect.evaluate import report
from ce_detect.guard import shipped
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.reporting import demonstration as page
from ce_detect.reporting.demonstration import Example
from ce_detect.reporting.document import Document
from ce_detect.storage.folders import cache_folder

MILDEST = tuple(corruption for corruption in MILD if corruption.severity == 1)
"""Benign change that the demo counts false alarms under."""

SHOWN = (Corruption("contrast", 1), Corruption("gaussian-noise", 1), Corruption("brightness", 1))
"""Natural change of the images that are shown, one an image."""

SHAPE = (1, 28, 28)

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""Classes of Fashion-MNIST."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many images do what.

    Attributes:
        calibration: the first ones, for calibration.
        held_out: the next ones, for clean figures.
        attacked: how many of those are attacked.
    """

    calibration: int = 1200
    held_out: int = 400
    attacked: int = 200


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What a demo run found.

    Attributes:
        guard: the calibrated detector.
        document: the page; its data hold all that was found but the time it took.
        cost: time of a gated forward relative to the model alone, measured after all else.
        judged: verdicts on the first images that the attack fools the classifier with: each as it is, changed as nature
            does, and attacked.
        seconds: time by stage.
        shipped: whether attacks and interventions are those that ship.
    """

    guard: DetectedModel
    document: Document
    cost: float
    judged: tuple[Example, ...]
    seconds: dict[str, float]
    shipped: bool

    @property
    def manifest(self) -> Manifest:
        """Of the detector."""
        return self.guard.calibrated.manifest

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**self.document.data, "cost": self.cost, "seconds": self.seconds, "shipped": self.shipped}


def demonstrate(
    settings: CalibrationSettings, *, unseen: Attack, sizes: Sizes = Sizes(), fresh: bool = False
) -> Demonstration:
    """Do the main job on the embedded model and images.

    Args:
        settings: of the calibration; the attacks of its recipe are also evaluated, with the next seed.
        unseen: one more attack to evaluate, and to show.
        sizes: how many images do what.
        fresh: make the attacks and search the interventions; else those that ship are taken.
    """
    stages = Stages()
    with stages("load the model and the images"):
        images = load_data("demo", limit=sizes.calibration + sizes.held_out)
        guard = DetectedModel(fashion_cnn_light(), bounds=images.bounds, input_shape=SHAPE)
        calibration = images.subset(slice(sizes.calibration))
        held_out = images.subset(slice(sizes.calibration, None))
        evaluated = _distinct((*settings.recipe.attacks, unseen))
        if not fresh:
            settings = _with_shipped(settings)
            _unpack(guard, calibration, held_out.x[: sizes.attacked], evaluated, settings)
    with stages("calibrate"):
        guard.calibrate(calibration.x, calibration.y, settings)
    with stages("attack held-out images and evaluate"):
        attacked = attack_all(
            guard.classifier, held_out.x[: sizes.attacked], evaluated, seed=settings.seed + 1, cache=settings.cache,
            progress=settings.progress,
        )  # fmt: skip
        found = report.evaluate(guard.gate, held_out.x, held_out.y, attacked, target=settings.fpr, corruptions=MILDEST)
        judged = _judged(guard, held_out, attacked[unseen.name])
    with stages("measure the cost of the gate"):
        cost = _cost(guard, held_out.x[: max(BATCHES)])
    document = page.document(found, guard.calibrated.manifest, guard.gate, judged, unseen=(unseen.name,), cost=cost)
    return Demonstration(guard, document, cost, judged, stages.seconds, not fresh)


def _with_shipped(settings: CalibrationSettings) -> CalibrationSettings:
    """The interventions that ship, whatever they cost here: timing must not decide what a demo shows.

    The cache is a folder of its own: what is unpacked there was not made there.
    """
    recipe = replace(settings.recipe, interventions=shipped.INTERVENTIONS)
    return replace(settings, recipe=recipe, budget=math.inf, cache=(settings.cache or cache_folder()) / "demo")


def _unpack(
    guard: DetectedModel, calibration: Images, held_out: Floats, evaluated: Sequence[Attack],
    settings: CalibrationSettings,
) -> None:  # fmt: skip
    images, cache = shipped.load(), settings.cache
    assert cache is not None
    divided = dataset.divided(calibration, settings)
    for split in ("fit", "select", "test"):
        attacks = settings.recipe.attacks
        shipped.unpack(images, guard.classifier, divided.clean(split), attacks, seed=settings.seed, cache=cache)
    shipped.unpack(images, guard.classifier, held_out, evaluated, seed=settings.seed + 1, cache=cache)


class Stages:
    """Takes the time of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Take the time of what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)


def _distinct(attacks: tuple[Attack, ...]) -> tuple[Attack, ...]:
    return tuple({attack.name: attack for attack in attacks}.values())


def _judged(guard: DetectedModel, held_out: Images, twins: AttackedSet) -> tuple[Example, ...]:
    """Verdicts on the first images whose attack succeeds, before and after it: not chosen ones."""
    clean = held_out.x[twins.index]
    changed = np.flatnonzero(guard(clean).label != guard(twins.x).label)
    found = []
    for place, natural in zip(changed, SHOWN, strict=False):
        number, bounds = int(twins.index[place]), guard.classifier.bounds
        image = clean[place]
        versions = (
            ("clean", "", image),
            ("natural", natural.name, natural(image[None], bounds=bounds, seed=0)[0]),
            ("attacked", twins.attack.name, twins.x[place]),
        )
        found += [_judge(guard, kind, change, number, _shows(held_out, number), x) for kind, change, x in versions]
    return tuple(found)


def _shows(images: Images, number: int) -> str:
    assert images.y is not None
    return CLASSES[images.y[number]]


def _judge(guard: DetectedModel, kind: Any, change: str, number: int, shows: str, image: Floats) -> Example:
    result = guard(image[None])
    return Example(
        kind=kind,
        change=change,
        image=number,
        true_class=shows,
        decision=CLASSES[int(result.label[0])],
        score=float(result.score[0]),
        p_value=float(result.p_value[0]),
        is_adversarial=bool(result.is_adversarial[0]),
        pixels=image,
    )


def _cost(guard: DetectedModel, x: Floats) -> float:
    batch, judge = torch.from_numpy(x), Inference(guard.gate).judge
    with torch.inference_mode():
        return round(ratios(lambda: guard.model(batch), [lambda: judge(batch)])[0], 3)
