"""Heads: a scikit-learn estimator as tensors, so that the score is differentiable and exports as a few products."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ce_detect.errors import CalibrationError


class Head(nn.Module):
    """Signature to score; larger = more adversarial.

    Features are first centred and scaled by the median and the interquartile range of clean ones, then squashed by
    ``asinh``: effects have heavy tails, and a linear scale would let one of them decide alone.

    Attributes:
        center: ``(features,)``.
        scale: ``(features,)``.
        slope: scalar ``a`` of the log-likelihood ratio ``a * score + b`` (Platt scaling); NaN where no attack was seen.
        offset: scalar ``b``.
    """

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

    def squash(self, features: Tensor) -> Tensor:
        """Return squashed features, of the same shape."""
        return torch.asinh((features - self.center) / self.scale)

    def log_likelihood_ratio(self, score: Tensor) -> Tensor:
        """Log of how much more likely a score is under attack than on clean inputs, in nats."""
        return self.slope * score + self.offset


class NetworkHead(Head):
    """The mean of the log-odds of several small networks; one without hidden layers is a logistic regression.

    Attributes:
        layers: for each layer, weights ``(members, in, out)`` and biases ``(members, 1, out)``.
    """

    def __init__(self, center: Tensor, scale: Tensor, weights: list[Tensor], biases: list[Tensor]) -> None:
        super().__init__(center, scale)
        self.depth = len(weights)
        for position, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self.register_buffer(f"weight{position}", weight.float())
            self.register_buffer(f"bias{position}", bias.float())

    @classmethod
    def from_estimators(cls, center: Tensor, scale: Tensor, estimators: list[Any]) -> Self:
        """Take the weights of fitted scikit-learn ``MLPClassifier`` (ReLU) or ``LogisticRegression`` estimators.

        Raises:
            CalibrationError: an estimator of another kind.
        """
        members = [_layers(estimator) for estimator in estimators]
        weights = [torch.stack([m[0][i] for m in members]) for i in range(len(members[0][0]))]
        biases = [torch.stack([m[1][i] for m in members]) for i in range(len(members[0][1]))]
        return cls(center, scale, weights, biases)

    def forward(self, features: Tensor) -> Tensor:
        """Return log-odds ``(batch,)`` from a signature ``(batch, features)``."""
        h = self.squash(features).expand(self.get_buffer("weight0").shape[0], -1, -1)
        for position in range(self.depth):
            h = torch.baddbmm(self.get_buffer(f"bias{position}"), h, self.get_buffer(f"weight{position}"))
            if position < self.depth - 1:
                h = torch.relu(h)
        return h.squeeze(-1).mean(0)


class DistanceHead(Head):
    """Mahalanobis distance of a signature from clean ones; learns from clean data alone.

    Attributes:
        mean: ``(features,)`` of squashed clean signatures.
        whitening: ``(features, features)``; the squared norm of a whitened signature is the squared distance.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, center: Tensor, scale: Tensor, mean: Tensor, whitening: Tensor) -> None:
        super().__init__(center, scale)
        self.register_buffer("mean", mean.float())
        self.register_buffer("whitening", whitening.float())

    def forward(self, features: Tensor) -> Tensor:
        """Return distances ``(batch,)`` from a signature ``(batch, features)``."""
        whitened = (self.squash(features) - self.mean) @ self.whitening
        return torch.linalg.vector_norm(whitened, dim=1)


def squashing(clean: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Median and interquartile range of clean features ``(n, features)``, the latter never zero."""
    low, middle, high = np.quantile(clean, [0.25, 0.5, 0.75], axis=0)
    spread = high - low
    fallback = np.maximum(clean.std(axis=0), 1e-6)
    return torch.from_numpy(middle), torch.from_numpy(np.where(spread > 1e-3 * fallback, spread, fallback))


def _layers(estimator: Any) -> tuple[list[Tensor], list[Tensor]]:
    kind = type(estimator).__name__
    if kind == "LogisticRegression":
        return [torch.from_numpy(estimator.coef_.T.copy())], [torch.from_numpy(estimator.intercept_[None].copy())]
    if kind == "MLPClassifier" and estimator.activation == "relu":
        weights = [torch.from_numpy(np.array(w)) for w in estimator.coefs_]
        return weights, [torch.from_numpy(np.array(b)[None]) for b in estimator.intercepts_]
    raise CalibrationError(f"a {kind} cannot become tensors; use LogisticRegression or MLPClassifier with relu")
