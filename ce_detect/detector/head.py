"""Heads: a scikit-learn estimator as tensors, so that the score is differentiable and exports as a few products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ce_detect.errors import CalibrationError

if TYPE_CHECKING:
    from ce_detect.detector.trees import TreeHead

ROWS = 1024
"""Signatures that a head takes at a time: what it computes on the way is larger than they are."""

_COLUMNS = 16  # features whose quantiles are taken at a time


class Head(nn.Module):
    """Signature to score; larger = more adversarial.

    Features are first centred and scaled by the median and the interquartile range of clean ones, then squashed by
    ``asinh``: effects have heavy tails, and a linear scale would let one of them decide alone.

    Attributes:
        center: ``(features,)``.
        scale: ``(features,)``.
        slope: scalar ``a`` of the log-likelihood ratio ``a * score + b`` (Platt scaling); NaN where no attack was seen.
        offset: scalar ``b``.
        differentiable: whether the score has a gradient that tells how features move it.
    """

    differentiable: bool = True

    center: Tensor
    scale: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, center: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("center", center.float())
        self.register_buffer("scale", scale.float())
        self.register_buffer("slope", torch.tensor(torch.nan))
        self.register_buffer("offset", torch.tensor(torch.nan))
        self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]

    def _prepare(self) -> None:
        """Work out from the state what the forward pass takes in its place, in fewer operations."""

    def squash(self, features: Tensor) -> Tensor:
        """Return squashed features, of the same shape."""
        return torch.asinh((features - self.center) / self.scale)

    def ways(self, features: Tensor, threshold: float) -> Tensor:
        """Return scores ``(ways, batch)`` of each way past a threshold: an input passes where one is at most that.

        There is one way, the score itself, unless the score is put together from several.
        """
        return torch.stack([self(features)])

    def near(self, features: Tensor, threshold: float) -> Tensor:
        """Return what is above a threshold exactly where the score is, with the gradient of the shortest way past."""
        scores: Tensor = self(features)
        return scores

    def log_likelihood_ratio(self, score: Tensor) -> Tensor:
        """Log of how much more likely a score is under attack than on clean inputs, in nats."""
        return self.slope * score + self.offset


class NetworkHead(Head):
    """The mean of a linear model's log-odds and those of an ensemble of small networks.

    Each of them tells clean inputs and every attack apart, by a softmax over these classes. The score is the log-odds
    of *any* attack against clean, so that attacks with opposite traits do not cancel each other out. The networks fit
    the attacks that were seen more closely; the linear model carries over better to others.

    Attributes:
        weight, bias: the linear model's logits less that of clean, ``(features, attacks)`` and ``(attacks,)``.
        weight0, bias0, ...: for each layer of the networks, ``(members, in, out)`` and ``(members, 1, out)``, the last
            with as many outputs as attacks; absent where the head is the linear model alone.
        rows0, shift0, ...: the same as one network, see `_side_by_side`; not stored.
        each: ``(members + 1, 1)``, what each network and the linear model count; not stored.
    """

    weight: Tensor
    bias: Tensor
    each: Tensor

    def __init__(
        self, center: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, layers: list[tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__(center, scale)
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())
        self.depth = len(layers)
        for position, (weights, biases) in enumerate(layers):
            self.register_buffer(f"weight{position}", weights.float())
            self.register_buffer(f"bias{position}", biases.float())
        members = layers[0][0].shape[0] if layers else 0
        each = [0.5 / members] * members + [0.5] if members else [1.0]
        self.register_buffer("each", torch.tensor(each)[:, None], persistent=False)
        self._prepare()

    def _prepare(self) -> None:
        layers = [(self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")) for i in range(self.depth)]
        for position, (weights, biases) in enumerate(_side_by_side(self.weight, self.bias, layers)):
            self.register_buffer(f"rows{position}", weights, persistent=False)
            self.register_buffer(f"shift{position}", biases, persistent=False)

    @classmethod
    def from_estimators(cls, center: Tensor, scale: Tensor, linear: Any, networks: list[Any]) -> Self:
        """Take the weights of fitted scikit-learn estimators, whose first class is clean.

        Args:
            center: see `Head`.
            scale: see `Head`.
            linear: a ``LogisticRegression``.
            networks: ``MLPClassifier`` estimators with ReLU and equal layer sizes; may be empty.

        Raises:
            CalibrationError: an estimator of another kind.
        """
        _check(linear, "LogisticRegression")
        for network in networks:
            _check(network, "MLPClassifier")
        layers = [
            (torch.from_numpy(np.stack(weights)), torch.from_numpy(np.stack(biases)[:, None]))
            for weights, biases in (zip(*layer, strict=True) for layer in zip(*map(_layers, networks), strict=True))
        ]
        weight, bias = _against_clean(linear.coef_.T, linear.intercept_)
        return cls(center, scale, torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy()), layers)

    @property
    def share(self) -> int:
        """How often it counts beside the distance from clean signatures, see `FusedHead`."""
        return 2 if self.depth else 1

    def forward(self, features: Tensor) -> Tensor:
        """Return log-odds ``(batch,)`` from a signature ``(batch, features)``."""
        return self.log_odds(self.squash(features))

    def log_odds(self, squashed: Tensor) -> Tensor:
        """Return log-odds ``(batch,)`` from squashed features."""
        h = squashed
        for position in range(max(self.depth, 1)):
            h = h.relu() if position else h
            h = F.linear(h, self.get_buffer(f"rows{position}"), self.get_buffer(f"shift{position}"))
        models: Tensor = h.unflatten(1, (-1, len(self.bias))).logsumexp(-1)
        return (models @ self.each).squeeze(1)


class DistanceHead(Head):
    """Distance of a signature from clean ones; learns from clean data alone.

    A squared Mahalanobis distance under probabilistic principal components (Tipping and Bishop 1999): few directions in
    which clean signatures vary, and noise in all others. Its inverse covariance is a diagonal less a product of two
    thin matrices, so it is small to store and quick to apply however many features there are.

    Attributes:
        mean: ``(features,)`` of squashed clean signatures.
        precision: ``(features,)``, the diagonal of the inverse covariance before the directions are taken off.
        directions: ``(features, k)``; the squares of the products with them are taken off.
        root, shift: ``(features,)`` each, root of the precision and what it makes of the mean; not stored.
        offsets: ``(k,)``, products of the mean with the directions; not stored.
        signs: ``(features + k, 1)``, of the squares; not stored.
    """

    mean: Tensor
    precision: Tensor
    directions: Tensor
    root: Tensor
    shift: Tensor
    offsets: Tensor
    signs: Tensor

    def __init__(self, center: Tensor, scale: Tensor, mean: Tensor, precision: Tensor, directions: Tensor) -> None:
        super().__init__(center, scale)
        self.register_buffer("mean", mean.float())
        self.register_buffer("precision", precision.float())
        self.register_buffer("directions", directions.float())
        features, taken_off = directions.shape
        signs = torch.tensor([1.0] * features + [-1.0] * taken_off)
        self.register_buffer("signs", signs[:, None], persistent=False)
        self._prepare()

    def _prepare(self) -> None:
        mean, root = self.mean.double(), self.precision.double().sqrt()
        self.register_buffer("root", root.float(), persistent=False)
        self.register_buffer("shift", (root * mean).float(), persistent=False)
        self.register_buffer("offsets", (mean @ self.directions.double()).float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return distances ``(batch,)`` from a signature ``(batch, features)``."""
        return self.distance(self.squash(features))

    def distance(self, squashed: Tensor) -> Tensor:
        """Return distances ``(batch,)`` from squashed features."""
        parts = torch.cat([squashed * self.root - self.shift, squashed @ self.directions - self.offsets], dim=1)
        square = (parts * parts @ self.signs).squeeze(1)
        return square.clamp_min(1e-12).sqrt()  # a difference may round below zero, where a root has no gradient


class FusedHead(Head):
    """What attacks look like, and what clean inputs look like, in one score.

    The mean of the log-odds of a linear model, those of an ensemble of networks, and the standardised distance from
    clean signatures. The first two know the attacks of the calibration best, the last finds others. Boosted trees may
    stand in the place of both. The score is counted from the median of clean inputs in interquartile ranges of theirs,
    so that all detectors have one scale and rounding means the same in each.

    Attributes:
        network: log-odds from squashed features; counts once where it is a linear model alone, else twice.
        clean: distance from clean signatures, on the same squashed features.
        location, spread: mean and standard deviation of the distance on clean inputs.
        middle, width: median and interquartile range of the mean on clean inputs; 0 and 1 until `standardise`.
    """

    location: Tensor
    spread: Tensor
    middle: Tensor
    width: Tensor

    def __init__(
        self,
        network: NetworkHead | TreeHead,
        clean: DistanceHead,
        location: float,
        spread: float,
        *,
        middle: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__(network.center, network.scale)
        self.network = network
        self.clean = clean
        self.differentiable = network.differentiable
        for name, value in {"location": location, "spread": spread, "middle": middle, "width": width}.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))
        self._prepare()

    def standardise(self, features: Tensor) -> None:
        """Set the scale of the score by signatures ``(n, features)`` of clean inputs."""
        low, middle, high = by_rows(self, features).quantile(torch.tensor([0.25, 0.5, 0.75]))
        self.middle.copy_(self.middle + middle * self.width)
        self.width.copy_(self.width * (high - low).clamp_min(1e-6))
        self._prepare()

    def forward(self, features: Tensor) -> Tensor:
        """Return scores ``(batch,)`` from a signature ``(batch, features)``."""
        squashed = self.squash(features)
        known, unusual, offset = self._line
        return known * self.network.log_odds(squashed) + unusual * self.clean.distance(squashed) + offset

    def _prepare(self) -> None:
        """Take what the log-odds and the distance count in the score, and its offset, as numbers."""
        share, width, spread = self.network.share, float(self.width), float(self.spread)
        unusual = 1 / (width * (share + 1) * spread)
        offset = -float(self.location) * unusual - float(self.middle) / width
        self._line = share / (width * (share + 1)), unusual, offset


def _side_by_side(weight: Tensor, bias: Tensor, layers: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Networks and a linear model as one network: fewer operations, which are the cost on single inputs.

    What the linear model says passes through the ReLUs as two units, since ``a = relu(a) - relu(-a)``.

    Args:
        weight: of the linear model, ``(features, outputs)``.
        bias: of the linear model, ``(outputs,)``.
        layers: of the networks, weights ``(members, in, out)`` and biases ``(members, 1, out)``.

    Returns:
        Weights ``(out, in)`` and biases ``(out,)`` of each layer, the last of which gives the outputs of each network
        and then those of the linear model.
    """
    if not layers:
        return [(weight.T, bias)]
    own, none = torch.eye(len(bias)), torch.zeros(2 * len(bias))
    (first, shift), *others = [(weights.mT, biases.flatten()) for weights, biases in layers]
    made = [(torch.cat([first.flatten(0, 1), weight.T, -weight.T]), torch.cat([shift, bias, -bias]))]
    for weights, biases in others[:-1]:
        made.append((torch.block_diag(*weights, torch.eye(len(none))), torch.cat([biases, none])))
    weights, biases = others[-1]
    joined = torch.block_diag(*weights, torch.cat([own, -own], dim=1))
    return [*made, (joined, torch.cat([biases, none[: len(bias)]]))]


def _loaded(head: Head, _: Any) -> None:
    """Follow a state that was loaded; no lambda, so that heads can be pickled."""
    head._prepare()


def squashing(clean: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Median and interquartile range of clean features ``(n, features)``, the latter never zero."""
    columns = range(0, clean.shape[1], _COLUMNS)  # quantiles are taken in a copy
    centers, scales = zip(*(_squashing(clean[:, first : first + _COLUMNS]) for first in columns), strict=True)
    return torch.from_numpy(np.concatenate(centers)), torch.from_numpy(np.concatenate(scales))


def by_rows(function: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Apply a function of signatures, such as a head, to many ``(n, features)``, some rows at a time: ``(n,)``."""
    return torch.cat([function(part) for part in features.split(ROWS)])


def _squashing(clean: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    low, middle, high = np.quantile(clean, [0.25, 0.5, 0.75], axis=0)
    spread = high - low
    fallback = np.maximum(clean.std(axis=0), 1e-6)
    return middle, np.where(spread > 1e-3 * fallback, spread, fallback)


def _layers(network: Any) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Weights ``(in, out)`` and biases ``(out,)`` of each layer of a network."""
    *hidden, last = zip(network.coefs_, network.intercepts_, strict=True)
    return [*hidden, _against_clean(*last)]


def _against_clean(weight: NDArray[Any], bias: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits less that of clean, from weights ``(in, classes)``; two classes already come as one difference."""
    return (weight, bias) if weight.shape[1] == 1 else (weight[:, 1:] - weight[:, :1], bias[1:] - bias[0])


def _check(estimator: Any, kind: str) -> None:
    found = type(estimator).__name__
    if found != kind or getattr(estimator, "activation", "relu") != "relu":
        raise CalibrationError(
            f"a {found} cannot become tensors here; expected a fitted {kind} (with activation 'relu')"
        )
