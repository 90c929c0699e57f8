"""Features with heavy tails, estimators fitted on them, and heads made of these."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from ce_detect.heads.network import NetworkHead

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
SCALE = torch.tensor([0.5, 2.0, 1.0, 30.0, 0.1])
CENTER = torch.tensor([0.0, -3.0, 100.0, 5.0, 0.2])


@functools.cache
def data() -> Data:
    """Features with heavy tails and on different scales, and labels that depend on them."""
    rng = np.random.default_rng(0)
    x = (rng.standard_t(3, size=(300, 5)) * SCALE.numpy() + CENTER.numpy()).astype(np.float32)
    y = (np.asarray((torch.from_numpy(x) - CENTER) / SCALE)[:, :2].sum(1) + rng.normal(size=300) > 0).astype(np.int64)
    return x, y


def squashed(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a head does to features before its estimator sees them, in plain NumPy."""
    return np.arcsinh((x - CENTER.numpy()) / SCALE.numpy()).astype(np.float64)


def fitted(estimator: Any, data: Data) -> Any:
    """The estimator, fitted on squashed features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(squashed(data[0]), data[1])


def log_odds(estimator: Any, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logit of the estimator's probability of class 1."""
    p = estimator.predict_proba(squashed(x))[:, 1]
    return np.asarray(np.log(p) - np.log1p(-p))


def mlp(seed: int, hidden: tuple[int, ...] = (8,)) -> MLPClassifier:
    """A small network."""
    return MLPClassifier(hidden, max_iter=30, random_state=seed)


def network_head(linear: Any, networks: list[Any]) -> NetworkHead:
    """The head made of these estimators."""
    return NetworkHead.from_estimators(CENTER, SCALE, linear, networks)
