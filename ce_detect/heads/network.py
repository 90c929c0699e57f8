"""Linear models and small networks of scikit-learn as tensors: the score is differentiable, a few products in ONNX."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ce_detect.core.errors import CalibrationError
from ce_detect.heads.base import Head


class NetworkHead(Head):
    """The mean of a linear model's log-odds and those of an ensemble of small networks.

    Each of them tells clean inputs and every attack apart, by a softmax over these classes. The score is the log-odds
    of *any* attack against clean, so that attacks with opposite traits do not cancel each other out. The networks fit
    the attacks that were seen more closely; the linear model carries over better to others.

    Attributes:
        weight, bias: the linear model's logits less that of clean, ``(features, attacks)`` and ``(attacks,)``.
        weight0, bias0, ...: for each layer of the networks, ``(members, in, out)`` and ``(members, 1, out)``, the last
            with as many outputs as attacks; absent where the head is the linear model alone.
        depth: number of these layers, 0 where the head is the linear model alone.
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
    own, none = torch.eye(len(bias), device=bias.device), bias.new_zeros(2 * len(bias))
    (first, shift), *others = [(weights.mT, biases.flatten()) for weights, biases in layers]
    made = [(torch.cat([first.flatten(0, 1), weight.T, -weight.T]), torch.cat([shift, bias, -bias]))]
    for weights, biases in others[:-1]:
        made.append((torch.block_diag(*weights, torch.eye(len(none), device=bias.device)), torch.cat([biases, none])))
    weights, biases = others[-1]
    joined = torch.block_diag(*weights, torch.cat([own, -own], dim=1))
    return [*made, (joined, torch.cat([biases, none[: len(bias)]]))]


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
