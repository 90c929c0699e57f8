"""The main job on what comes with ce-detect: calibrate, evaluate on held-out images, gate one image of each kind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ce_detect.artifacts.manifest import Manifest
from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.calibrate.cost.pytorch import BATCHES
from ce_detect.calibrate.cost.timing import ratios
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.core.types import Floats
from ce_detect.data import Images, load_data
from ce_detect.data.corruptions import MILD
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector.inference import Inference
from ce_detect.evaluate import report
from ce_detect.guard.detected_model import DetectedModel

MILDEST = tuple(corruption for corruption in MILD if corruption.severity == 1)
"""Benign change that the demo counts false alarms under."""

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
    held_out: int = 600
    attacked: int = 200


@dataclass(frozen=True, slots=True)
class Example:
    """One image and the gate's word on it.

    Attributes:
        kind: ``"clean"`` or the name of the attack.
        true_class: what the image shows.
        decision: what the classifier says.
        score: larger = more adversarial.
        p_value: share of clean inputs that look at least as adversarial.
        is_adversarial: the verdict.
    """

    kind: str
    true_class: str
    decision: str
    score: float
    p_value: float
    is_adversarial: bool


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What a demo run found.

    Attributes:
        manifest: of the calibrated detector.
        threshold: score above which an input is flagged.
        report: figures on held-out images, see `ce_detect.evaluate.report.Report.to_dict`.
        unseen: names of the attacks that calibration did not contain.
        cost: time of a gated forward relative to the model alone, measured after all else.
        judged: verdicts on one image before and after an attack; empty where the attack never succeeds.
        seconds: time by stage.
    """

    manifest: Manifest
    threshold: float
    report: dict[str, Any]
    unseen: tuple[str, ...]
    cost: float
    judged: tuple[Example, ...]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = {**asdict(self), "manifest": self.manifest.plain(), "unseen": list(self.unseen)}
        return {**found, "judged": [asdict(example) for example in self.judged]}


def demonstrate(
    settings: CalibrationSettings, *, sizes: Sizes, unseen: Attack, shown: Attack, output: Path | None = None
) -> Demonstration:
    """Do the main job on the embedded model and images.

    Args:
        settings: of the calibration; the attacks of its recipe are also evaluated, with the next seed.
        sizes: how many images do what.
        unseen: one more attack to evaluate.
        shown: the attack on the image whose verdict is shown.
        output: where to keep the artifact.
    """
    stages = Stages()
    with stages("load the model and the images"):
        images = load_data("demo", limit=sizes.calibration + sizes.held_out)
        model = fashion_cnn()
    calibration, held_out = images.subset(slice(sizes.calibration)), images.subset(slice(sizes.calibration, None))
    with stages("calibrate"):
        guard = DetectedModel(model, bounds=images.bounds).calibrate(calibration.x, calibration.y, settings)
        if output is not None:
            guard.save(output)
    with stages("attack held-out images and evaluate"):
        evaluated = _distinct((*settings.recipe.attacks, unseen))
        attacked = attack_all(
            guard.classifier, held_out.x[: sizes.attacked], _distinct((*evaluated, shown)), seed=settings.seed + 1,
            cache=settings.cache, progress=settings.progress,
        )  # fmt: skip
        figures = _figures(guard, held_out, {attack.name: attacked[attack.name] for attack in evaluated})
        judged = _before_and_after(guard, held_out, attacked[shown.name])
    with stages("measure the cost of the gate"):
        cost = _cost(guard, held_out.x[: max(BATCHES)])
    manifest = guard.calibrated.manifest
    return Demonstration(manifest, guard.threshold, figures, (unseen.name,), cost, judged, stages.seconds)


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


def _figures(guard: DetectedModel, held_out: Images, attacked: dict[str, AttackedSet]) -> dict[str, Any]:
    target = guard.calibrated.manifest.fpr
    found = report.evaluate(guard.gate, held_out.x, held_out.y, attacked, target=target, corruptions=MILDEST)
    return found.to_dict()


def _before_and_after(guard: DetectedModel, held_out: Images, twins: AttackedSet) -> tuple[Example, ...]:
    """Verdicts on the first image whose attack succeeds, before and after it: not a chosen one."""
    clean = held_out.x[twins.index]
    changed = np.flatnonzero(guard(clean).label != guard(twins.x).label)
    if not len(changed) or held_out.y is None:
        return ()
    first = changed[0]
    shows = CLASSES[held_out.y[twins.index[first]]]
    pairs = (("clean", clean[first]), (twins.attack.name, twins.x[first]))
    return tuple(_judge(guard, kind, shows, image) for kind, image in pairs)


def _judge(guard: DetectedModel, kind: str, shows: str, image: Floats) -> Example:
    result = guard(image[None])
    return Example(
        kind=kind,
        true_class=shows,
        decision=CLASSES[int(result.label[0])],
        score=float(result.score[0]),
        p_value=float(result.p_value[0]),
        is_adversarial=bool(result.is_adversarial[0]),
    )


def _cost(guard: DetectedModel, x: Floats) -> float:
    batch, judge = torch.from_numpy(x), Inference(guard.gate).judge
    with torch.inference_mode():
        return round(ratios(lambda: guard.model(batch), [lambda: judge(batch)])[0], 3)
