"""What a peer is: one method from the literature, taught and judged on what our own detector is taught and judged on.

``fit(classifier, clean, attacked)``, then ``score(x)``; a larger score means more adversarial. Scoring goes in two
steps, so that what is dear is done once where the train x test matrix learns again and again: `features` runs the
classifier, `judge` turns what it gave into scores. The statistics of a peer that learns from clean images alone *are*
its score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.face import AttackedSet, Classifier, Images, Pixels, Table, site_shapes, tensors
from benchmarks.face import stacked as stacked_tables

Floats = NDArray[np.floating[Any]]

Settings = MappingProxyType
"""What was chosen, in words, by what it is for."""

SMALL = 64
"""Longer side, in pixels, up to which an image is small."""

BATCH = 128
"""Images given to a peer at a time."""


@dataclass(frozen=True)
class Published:
    """A figure from the literature that a port should reproduce, and which of our figures is like it.

    Attributes:
        figure: what it is, with its attack, model and protocol.
        value: the figure itself, in [0, 1].
        source: where it stands.
        attacks: names of the attacks whose mean is set against it; empty for all.
        metric: ``"auroc"`` over successful attacks, or ``"tpr"``.
        fpr: for ``"tpr"``, the false-positive rate.
        subject: the benchmark's subject that is most like the published one.
        differs: in what our setting is another.
    """

    figure: str
    value: float
    source: str
    attacks: tuple[str, ...]
    metric: Literal["auroc", "tpr"] = "auroc"
    fpr: float = 0.05
    subject: str = "cifar10-resnet20"
    differs: str = ""


@dataclass(frozen=True)
class Limits:
    """How many images a peer is given; None for all.

    Attributes:
        taught: clean images to learn from.
        taught_attacked: successes of each attack to learn from.
        calibrate: clean images that set its threshold.
        clean: clean images that are judged.
        attacked: attempts of each attack that are judged.
        corrupted: clean images that are judged under each corruption.
    """

    taught: int | None = None
    taught_attacked: int | None = None
    calibrate: int | None = None
    clean: int | None = None
    attacked: int | None = None
    corrupted: int | None = 200


class Peer(ABC):
    """A method of detecting adversarial examples.

    Attributes:
        name: key, and part of file names.
        title: for tables.
        source: the paper.
        settings: what was chosen, and where it departs from the paper.
        published: figures that the port is held against.
        supervised: whether it learns from attacked images.
        forwards: forward passes an image, as the method is written.
        limits: images it gets, small ones.
        large_limits: the same for images of more than `SMALL` pixels a side; None where it is too slow for these.
        timed: images in the batch on which its cost is measured.
        asks_classifier: whether it runs the classifier; where it does not, the classifier's own forward comes on top.
        classifier: what `fit` was given.
        taught: statistics that it learned from, where it learns from attacked images.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = Settings({})
    published: ClassVar[tuple[Published, ...]] = ()
    supervised: ClassVar[bool] = False
    forwards: ClassVar[float] = 1
    limits: ClassVar[Limits] = Limits()
    large_limits: ClassVar[Limits | None] = Limits(corrupted=10)
    timed: ClassVar[int] = 32
    asks_classifier: ClassVar[bool] = True

    classifier: Classifier
    taught: Table

    def fit(self, classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Self:
        """Learn from clean images and from successfully attacked twins of some, which clean-only peers leave alone.

        Args:
            classifier: see `ce_detect.classifiers.base.Classifier`.
            clean: images, with labels where they are known.
            attacked: successes by name of the attack; ``index`` are positions in ``clean``.
        """
        self.classifier = classifier
        self.prepare(clean, attacked)
        if self.supervised:
            self.taught = self.table(clean.pixels, attacked)
            self.learn(self.taught)
        return self

    def score(self, x: Tensor) -> Floats:
        """Score images ``(batch, channels, height, width)``; ``(batch,)``, larger = more adversarial."""
        return self.judge(self.features(x))

    @abstractmethod
    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Learn what `features` needs. ``attacked`` serves to choose settings, in supervised peers alone."""

    @abstractmethod
    def features(self, x: Tensor) -> Floats:
        """Return statistics ``(batch, ...)`` of images, whatever else is in the batch."""

    def learn(self, table: Table) -> None:
        """Learn to tell the statistics of attacked images from those of clean ones."""
        raise NotImplementedError(f"{self.name} does not learn from attacked images")

    def judge(self, features: Floats) -> Floats:
        """Turn statistics into scores ``(batch,)``."""
        return features[:, 0]

    def features_of(self, x: Pixels) -> Floats:
        """Statistics of many images, read and judged in batches."""
        return np.concatenate([self.features(batch) for batch in batches(x, self.classifier)])

    def table(self, clean: Pixels, attacked: Mapping[str, AttackedSet]) -> Table:
        """Statistics of clean and of attacked images."""
        return Table(
            self.features_of(clean),
            {name: self.features_of(twins.pixels) for name, twins in attacked.items() if len(twins)},
        )


def stacked(table: Table) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Statistics, 0 or 1 for clean or attacked, and weights: half for clean, half shared evenly by the attacks."""
    x, target, weights = stacked_tables(table)
    return x, (target > 0).astype(np.int64), weights


def batches(x: Pixels, classifier: Classifier) -> Iterable[Tensor]:
    """Images a batch at a time, as tensors on the classifier's device."""
    return tensors.batches(x, BATCH, classifier.device)


def forward(classifier: Classifier, x: Pixels) -> Floats:
    """Logits ``(n, classes)`` of many images."""
    with torch.inference_mode():
        return np.concatenate([classifier.logits(batch).cpu().numpy() for batch in batches(x, classifier)])


def labels(classifier: Classifier, images: Images) -> NDArray[np.int64]:
    """The images' labels, or the classifier's own where there are none."""
    return forward(classifier, images.pixels).argmax(1) if images.y is None else images.y


def pooled(latent: Tensor) -> Tensor:
    """Mean of a latent over its positions, ``(batch, channels)``."""
    if latent.ndim == 4:
        return latent.mean((2, 3))
    return latent.mean(1) if latent.ndim == 3 else latent


def last_map(classifier: Classifier) -> str:
    """The last site that is a feature map."""
    return [site for site, shape in site_shapes(classifier).items() if len(shape) == 3][-1]


def share(generator: np.random.Generator, x: Pixels, count: int) -> NDArray[np.int64]:
    """Positions of some images drawn at random, ascending."""
    return np.sort(generator.permutation(len(x))[:count])
