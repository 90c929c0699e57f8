"""What the benchmarks measure: classifiers, the images they are calibrated and judged on, and the attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.face import AttackedSet, Images, attack_all, cache_folder, fashion_cnn
from benchmarks.subjects.images import (
    Arrays,
    cifar10,
    cifar10_training,
    fashion_test,
    pneumonia_untrained,
    shuffled_imagenet,
)
from benchmarks.subjects.networks import (
    cifar10_resnet20,
    cifar10_resnet32,
    cifar10_vit,
    efficientnet_lite0,
    pneumonia_cnn,
)
from benchmarks.subjects.settings import SEED
from ce_detect import Attack, DetectedModel, Recipe


@dataclass(frozen=True)
class Subject:
    """A classifier with everything that its figures are made from.

    Attributes:
        name: key, and part of file names.
        title: for tables.
        model: makes the classifier.
        images: makes all images and labels.
        calibration: how many images calibrate, the first ones.
        judged: which of the others are judged.
        recipe: name or path of the recipe.
        attacked: how many of the judged images are attacked with the recipe's attacks, the first ones.
        unseen: attacks that the recipe does not have, and how many of the judged images each gets.
        training: makes images that the classifier was trained on, for hardening alone.
    """

    name: str
    title: str
    model: Callable[[], nn.Module]
    images: Callable[[], Arrays]
    calibration: int
    judged: slice
    recipe: str = "default"
    attacked: int | None = None
    unseen: tuple[tuple[Attack, int], ...] = field(default=())
    training: Callable[[], NDArray[np.float32]] | None = None

    def split(self) -> tuple[Images, Images]:
        """Images that calibrate, and images that are judged."""
        x, y = self.images()
        return Images(x[: self.calibration], y[: self.calibration]), Images(x[self.judged], y[self.judged])

    def guard(self, shape: tuple[int, ...]) -> DetectedModel:
        """The classifier, wrapped."""
        channels, height, width = shape
        return DetectedModel(self.model(), input_shape=(channels, height, width), bounds=(0.0, 1.0))

    def attack(self, guard: DetectedModel, judged: Images, progress: Callable[..., None]) -> dict[str, AttackedSet]:
        """Attack the judged images; cached."""
        recipe = Recipe.load(self.recipe)
        x = judged.x[: self.attacked]
        attacked = attack_all(guard.classifier, x, recipe.attacks, seed=SEED, progress=progress)
        for attack, count in self.unseen:
            attacked |= attack_all(guard.classifier, judged.x[:count], (attack,), seed=SEED, progress=progress)
        return attacked

    def artifact(self, budget: float, *, cascade: bool = False) -> Path:
        """Where ``detection.py``, or for a cascade ``cascade.py``, leaves the calibrated gate for other programs."""
        return cache_folder() / "guards" / f"{self.name}-{budget:g}{'-cascade' if cascade else ''}.safetensors"

    def leave(self, guard: DetectedModel, budget: float, *, cascade: bool = False) -> None:
        """Save a gate there."""
        path = self.artifact(budget, cascade=cascade)
        path.parent.mkdir(parents=True, exist_ok=True)
        guard.save(path)


_OTHER = (
    Attack.of("pgd", eps="1/255", eps_step="1/1020"),
    Attack.of("apgd-dlr", eps="4/255", max_iter=25),
    Attack.of("mim", eps="4/255", eps_step="1/255"),
    Attack.of("cw-l2", name="cw-l2 confidence 10", confidence=10.0),
)
"""Weaker than the recipe's, stronger, and by other rules: all of them are chosen by nobody's recipe."""


def _unseen(many: int, few: int) -> tuple[tuple[Attack, int], ...]:
    queries = (Attack.of("square"), many), (Attack.of("hopskipjump"), few)
    first = (Attack.of("deepfool"), many), (Attack.of("apgd-dlr"), many)
    return (*first, *queries, *((attack, few) for attack in _OTHER))


_of = Attack.of
_LARGE_UNSEEN = (
    (_of("pgd", eps="1/510", eps_step="1/2040", max_iter=10), 32),
    (_of("apgd-dlr", max_iter=25), 32),
    (_of("square", max_iter=150), 32),
    (_of("hopskipjump", max_iter=5, max_eval=300), 16),
)
_TWO_CLASSES = tuple((attack, count) for attack, count in _unseen(384, 192) if attack.kind != "apgd-dlr")

# fmt: off
SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("cifar10-resnet20", "CIFAR-10, ResNet-20", cifar10_resnet20, cifar10, 2800, slice(2800, 4000),
                unseen=_unseen(384, 192), training=cifar10_training),
        Subject("cifar10-resnet32", "CIFAR-10, ResNet-32", cifar10_resnet32, cifar10, 1000, slice(2800, 4000),
                attacked=256, unseen=_unseen(128, 96), training=cifar10_training),
        Subject("cifar10-vit", "CIFAR-10, small ViT", cifar10_vit, cifar10, 600, slice(2800, 4000),
                attacked=128, unseen=_unseen(64, 32), training=cifar10_training),
        Subject("fashion", "Fashion-MNIST, plain CNN", fashion_cnn, fashion_test, 1400, slice(2800, 4000),
                attacked=384, unseen=_unseen(192, 128)),
        Subject("pneumonia", "PneumoniaMNIST, plain CNN", pneumonia_cnn, pneumonia_untrained, 1200, slice(1200, None),
                unseen=_TWO_CLASSES),
        Subject("imagenet-lite0", "ImageNet sample, EfficientNet-Lite0", efficientnet_lite0, shuffled_imagenet, 200,
                slice(200, None), recipe="large", attacked=48, unseen=_LARGE_UNSEEN),
        Subject("imagenet-lite0-400", "ImageNet sample, 400 images calibrate", efficientnet_lite0, shuffled_imagenet,
                400, slice(400, None), recipe="large", attacked=48, unseen=_LARGE_UNSEEN),
    )
}
# fmt: on
"""Every subject by name."""
