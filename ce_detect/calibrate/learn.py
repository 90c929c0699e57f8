"""Learn the signature of an attack: features of the *fit* and *select* splits, and a head from them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from ce_detect.calibrate.recipe import HeadKind
from ce_detect.calibrate.sets import AttackedSet
from ce_detect.detector.head import DistanceHead, Head, NetworkHead, squashing
from ce_detect.signature import Signature

Floats = NDArray[np.float32]

MEMBERS = 4
"""Networks in the ensemble of the ``mlp`` head."""

WIDTH = 64
"""Hidden units of each network."""


@dataclass(frozen=True, slots=True)
class Sets:
    """Clean images of one split and their successfully attacked twins, by name of the attack."""

    clean: Floats
    attacked: dict[str, AttackedSet]


@dataclass(frozen=True, slots=True)
class Table:
    """Features of clean and attacked images.

    Attributes:
        clean: ``(n, features)``.
        attacked: ``(m, features)`` by name of the attack.
    """

    clean: Floats
    attacked: dict[str, Floats]

    def stacked(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.float64]]:
        """Features, 0 or 1 for clean or attacked, and weights: half for clean, half shared evenly by the attacks."""
        parts = [self.clean, *(part for part in self.attacked.values() if len(part))]
        shares = [1.0, *([1.0 / max(1, len(parts) - 1)] * (len(parts) - 1))]
        weights = np.concatenate([np.full(len(p), share / len(p)) for p, share in zip(parts, shares, strict=True)])
        target = np.concatenate([np.full(len(p), int(position > 0)) for position, p in enumerate(parts)])
        return np.concatenate(parts), target, weights / weights.mean()

    def __add__(self, other: Table) -> Table:
        both = {name: np.concatenate([part, other.attacked[name]]) for name, part in self.attacked.items()}
        return Table(np.concatenate([self.clean, other.clean]), both)


def features(signature: Signature, x: Floats) -> tuple[Floats, Floats]:
    """Logits ``(n, classes)`` and signatures ``(n, features)`` of many images, in batches."""
    if not len(x):
        return np.zeros((0, signature.classifier.num_classes), np.float32), np.zeros(
            (0, len(signature.names)), np.float32
        )
    device = signature.classifier.device
    size = signature.chunk or 128
    with torch.inference_mode():
        parts = [signature(part.to(device)) for part in torch.from_numpy(x).split(size)]
    return tuple(np.concatenate([part[i].cpu().numpy() for part in parts]) for i in range(2))  # type: ignore[return-value]


def table(signature: Signature, sets: Sets) -> Table:
    """Signatures of everything in a split."""
    return Table(
        features(signature, sets.clean)[1],
        {name: features(signature, twins.x)[1] for name, twins in sets.attacked.items()},
    )


def head(signature: Signature, sets: dict[str, Sets], *, kind: HeadKind, seed: int) -> Head:
    """Fit a head.

    A head is fitted on *fit* alone and scored on *select*: that gives the scale on which a score is a likelihood ratio
    (Platt 1999). The head that is returned is then fitted on both.

    Args:
        signature: what makes the features.
        sets: the splits ``"fit"`` and ``"select"``.
        kind: ``"mlp"``, ``"logistic"`` or ``"distance"``.
        seed: seed of the networks' starts.
    """
    fit, select = table(signature, sets["fit"]), table(signature, sets["select"])
    center, scale = squashing((fit + select).clean)
    if kind == "distance":
        return _distance(center, scale, (fit + select).clean)
    fitted = _network(center, scale, fit + select, kind, seed)
    held_out = select if len(select.clean) else fit
    slope, offset = _platt(_network(center, scale, fit, kind, seed), held_out)
    fitted.slope.fill_(slope)
    fitted.offset.fill_(offset)
    return fitted


def untrained(features: int, kind: HeadKind) -> Head:
    """A head of the usual size with zero weights, for timing."""
    zero, one = torch.zeros(features), torch.ones(features)
    if kind == "distance":
        return DistanceHead(zero, one, zero, torch.zeros(features, features))
    if kind == "logistic":
        return NetworkHead(zero, one, zero, torch.tensor(0.0), [])
    hidden = torch.zeros(MEMBERS, features, WIDTH), torch.zeros(MEMBERS, 1, WIDTH)
    last = torch.zeros(MEMBERS, WIDTH, 1), torch.zeros(MEMBERS, 1, 1)
    return NetworkHead(zero, one, zero, torch.tensor(0.0), [hidden, last])


def _distance(center: torch.Tensor, scale: torch.Tensor, clean: Floats) -> DistanceHead:
    squashed = Head(center, scale).squash(torch.from_numpy(clean)).numpy()
    shrunk = LedoitWolf().fit(squashed)
    values, vectors = np.linalg.eigh(shrunk.covariance_)
    whitening = vectors / np.sqrt(np.maximum(values, 1e-8))
    return DistanceHead(center, scale, torch.from_numpy(shrunk.location_), torch.from_numpy(whitening))


def _network(center: torch.Tensor, scale: torch.Tensor, rows: Table, kind: HeadKind, seed: int) -> NetworkHead:
    x, target, weights = rows.stacked()
    squashed = Head(center, scale).squash(torch.from_numpy(x)).numpy()
    linear = LogisticRegression(C=0.1, max_iter=1000).fit(squashed, target, sample_weight=weights)
    networks = [
        MLPClassifier((WIDTH,), alpha=1.0, max_iter=60, batch_size=128, random_state=seed + member)
        for member in range(MEMBERS if kind == "mlp" else 0)
    ]
    with warnings.catch_warnings():  # the networks train for a fixed number of epochs on purpose
        warnings.simplefilter("ignore", ConvergenceWarning)
        for network in networks:
            network.fit(squashed, target, sample_weight=weights)
    return NetworkHead.from_estimators(center, scale, linear, networks)


def _platt(fitted: NetworkHead, rows: Table) -> tuple[float, float]:
    """Slope and offset that turn a score into a log-likelihood ratio, from images the head has not seen."""
    x, target, weights = rows.stacked()
    with torch.inference_mode():
        scores = fitted(torch.from_numpy(x)).numpy()[:, None]
    line = LogisticRegression(C=1.0).fit(scores, target, sample_weight=weights)
    return float(line.coef_[0, 0]), float(line.intercept_[0])
