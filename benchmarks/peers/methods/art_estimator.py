"""The classifier and small networks as ART's detectors want them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from benchmarks.face import Classifier, Table
from benchmarks.peers.protocol import Floats, Peer
from benchmarks.subjects.settings import SEED


def estimator(model: nn.Module, shape: tuple[int, ...], classes: int, *, trained: bool) -> PyTorchClassifier:
    """An ART classifier around a model; one that is not ``trained`` comes with an optimizer."""
    optimizer = None if trained else torch.optim.Adam(model.parameters(), lr=1e-3)
    return PyTorchClassifier(
        model, loss=nn.CrossEntropyLoss(), input_shape=shape, nb_classes=classes, optimizer=optimizer, device_type="cpu"
    )


def in_layers(classifier: Classifier) -> PyTorchClassifier:
    """The classifier as ART sees layers: a sequence of its segments, each of which ends at a site."""
    layers = [*classifier.segments[:-1], nn.Sequential(classifier.segments[-1])]
    return estimator(nn.Sequential(*layers), classifier.input_shape, classifier.num_classes, trained=True)


def layer_of(classifier: Classifier, site: str) -> str:
    """ART's name of the layer that ends at a site."""
    return str(list(classifier.sites).index(site))


def detector_network(channels: int, strides: int) -> nn.Module:
    """A small CNN with two outputs: a convolution, others that halve the picture, average, a linear layer."""
    layers: list[nn.Module] = []
    for number in range(1 + strides):
        width = min(64, 16 * 2**number)
        layers += [
            nn.Conv2d(channels, width, 3, stride=2 if number else 1, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


class BinaryPeer(Peer):
    """A detector of ART that trains a network with two outputs; its statistics are what the network looks at.

    ART weighs every image alike, so clean images are repeated until they are as many as the attacked ones.
    """

    supervised = True
    epochs = 10

    def build(self) -> Any:
        """Make ART's detector, untrained."""
        raise NotImplementedError

    def features(self, x: torch.Tensor) -> Floats:
        """The pixels themselves: ART's detectors start from these."""
        return np.asarray(x.cpu().numpy())

    def learn(self, table: Table) -> None:
        """See `Peer`."""
        attacked = np.concatenate(list(table.attacked.values()))
        clean = np.concatenate([table.clean] * max(1, round(len(attacked) / len(table.clean))))
        target = np.repeat([0, 1], [len(clean), len(attacked)])
        with seeded():
            self.detector = self.build()
            self.detector.fit(np.concatenate([clean, attacked]), target, batch_size=64, nb_epochs=self.epochs)

    def judge(self, features: Floats) -> Floats:
        """See `Peer`; the difference of ART's two outputs."""
        predictions = self.detector.detect(features)[0]["predictions"]
        return np.asarray(predictions[:, 1] - predictions[:, 0])


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Draw the same every time, and leave the global generator as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        yield
