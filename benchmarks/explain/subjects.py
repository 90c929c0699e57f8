"""What is explained: classifiers and images, with the pixels that are the truth where somebody marked them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.explain.cracks import crack_cnn, patches
from benchmarks.face import Classifier, wrap
from benchmarks.subjects.images import shuffled_imagenet
from benchmarks.subjects.subjects import SUBJECTS

MOST = 300
"""Images of ImageNet that are decoded: no more are explained."""


@dataclass(frozen=True)
class Explained:
    """A classifier and images.

    Attributes:
        model: makes the classifier.
        images: makes images ``(n, channels, height, width)`` in [0, 1], and what is true in them or None.
        settings: of methods, in the place of their usual ones.
        together: images that are explained at a time.
        label: the label that maps are for; the classifier's own decision where it is None.
    """

    model: Callable[[], nn.Module]
    images: Callable[[], tuple[NDArray[np.float32], NDArray[np.bool_] | None]]
    settings: dict[str, dict[str, int]]
    together: int
    label: int | None = None

    def labels(self, classifier: Classifier, x: Tensor) -> Tensor:
        """What maps of images are for, ``(batch,)``."""
        with torch.no_grad():
            decisions = classifier.logits(x).argmax(1)
        return decisions if self.label is None else torch.full_like(decisions, self.label)

    def classifier(self, shape: tuple[int, ...]) -> Classifier:
        """The classifier, wrapped."""
        channels, height, width = shape
        return wrap(self.model(), input_shape=(channels, height, width), bounds=(0.0, 1.0))


def _imagenet() -> tuple[NDArray[np.float32], None]:
    """The first judged images, so that not all of them are decoded."""
    first = SUBJECTS["imagenet-lite0"].judged.start
    return shuffled_imagenet(slice(first, first + MOST))[0], None


def _pneumonia() -> tuple[NDArray[np.float32], None]:
    """Images that the classifier was not trained on."""
    return SUBJECTS["pneumonia"].split()[1].x, None


def _cifar10() -> tuple[NDArray[np.float32], None]:
    """Images that the classifier was not trained on."""
    return SUBJECTS["cifar10-resnet20"].split()[1].x, None


def _cracks() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Test patches that have a crack."""
    found = patches(test=True)
    return found.x[found.y == 1], found.truth[found.y == 1]


_SMALL = {"rise": {"masks": 2000}, "extremal-perturbation": {"steps": 200}}
_LARGE = {
    "rise": {"masks": 600}, "extremal-perturbation": {"steps": 100}, "meaningful-perturbation": {"steps": 150},
    "integrated-gradients": {"steps": 16},
}  # fmt: skip

EXPLAINED = {
    "imagenet-lite0": Explained(SUBJECTS["imagenet-lite0"].model, _imagenet, _LARGE, 1),
    "cifar10-resnet20": Explained(SUBJECTS["cifar10-resnet20"].model, _cifar10, _SMALL, 5),
    "pneumonia": Explained(SUBJECTS["pneumonia"].model, _pneumonia, _SMALL, 20),
    "crackforest": Explained(crack_cnn, _cracks, _SMALL, 20, label=1),
}
"""What is explained, by name."""
