"""Learn what clean signatures look like: the head that needs no attack."""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.utils.extmath import randomized_svd

from ce_detect.detector.head import DistanceHead, Head, squashing
from ce_detect.signature import Signature, feature_names

SHRINKAGE = 0.1
"""Weight of the identity in a correlation matrix, so that what barely varies on clean images does not decide alone."""

MOST_DIRECTIONS = 64
"""Directions in which a group of features may vary, at most."""

ROWS_A_DIRECTION = 10
"""Images needed for each of them."""

START = ("trace.log-odds", "trace.energy", "trace.log-margin")
"""Where an effect starts from; the same effect is ordinary for one margin and odd for another."""

_CHANNEL = re.compile(r"trace\.(?:mean|deviation)\[(.*)\]\[\d+\]")
_TOGETHER = {**dict.fromkeys(START, "trace.logit"), "trace.contrast": "trace.contribution"}

_DENSE = 256
"""Features in a group beyond which the directions are found by random projections (Halko et al. 2011)."""

_LEAST_DEVIATION = 1e-3
"""Standard deviation of a squashed feature below which it has no scale to measure by, and is left out."""


def distance_head(signature: Signature, clean: NDArray[np.float32]) -> DistanceHead:
    """Fit a distance from clean signatures.

    The squared distance is the mean, over groups of features, of a squared Mahalanobis distance in the group divided
    by the group's size. So each intervention counts as much as all logits or as all channels of a site; in one joint
    distance hundreds of channels would drown six effects.

    Args:
        signature: what makes the features.
        clean: signatures of clean images ``(n, features)``.
    """
    center, scale = squashing(clean)
    squashed = Head(center, scale).squash(torch.from_numpy(clean)).double().numpy()
    mean, deviation = squashed.mean(0), squashed.std(0)
    varies = deviation > _LEAST_DEVIATION
    standard = squashed
    standard -= mean  # in place: in double precision the matrix is the largest thing in memory
    standard /= np.where(varies, deviation, 1.0)
    groups = [columns[varies[columns]] for columns in _groups(signature)]
    precision = np.zeros(len(mean))
    directions = []
    for columns in (columns for columns in groups if len(columns)):
        diagonal, product = _inverse_covariance(standard[:, columns])
        precision[columns] += diagonal / len(columns)
        placed = np.zeros((len(mean), product.shape[1]))
        placed[columns] = product / np.sqrt(len(columns))
        directions.append(placed)
    count = len(directions)
    unit = np.where(varies, deviation, 1.0)
    return DistanceHead(
        center,
        scale,
        torch.from_numpy(mean),
        torch.from_numpy(precision / unit**2 / count),
        torch.from_numpy(np.concatenate(directions, axis=1) / unit[:, None] / np.sqrt(count)),
    )


def _groups(signature: Signature) -> list[NDArray[np.int64]]:
    """Columns of the logits, of contributions, of each site's channels, and so on, and of each intervention."""
    position = {name: column for column, name in enumerate(signature.names)}
    effects: list[tuple[str, ...]] = [feature_names(intervention) for intervention in signature.interventions]  # type: ignore[arg-type]
    own = {name for names in effects for name in names}
    groups: dict[str, list[int]] = {}
    for name in signature.names:
        if name not in own:
            groups.setdefault(_kind(name), []).append(position[name])
    columns = [*groups.values(), *([position[name] for name in (*names, *START)] for names in effects)]
    return [np.array(group) for group in columns]


def _kind(name: str) -> str:
    channel = _CHANNEL.fullmatch(name)
    kind = name.partition("[")[0]
    return channel[1] if channel else _TOGETHER.get(kind, kind)


def _inverse_covariance(standard: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The inverse as ``d`` times the identity less ``a @ a.T``: ``d``, and ``a`` ``(features, k)``."""
    rows, width = standard.shape
    k = min(MOST_DIRECTIONS, max(1, rows // ROWS_A_DIRECTION), width - 1)
    if not k:
        return 1.0, np.zeros((1, 0))
    largest, vectors = _principal(standard, k)
    largest = (1 - SHRINKAGE) * largest / rows + SHRINKAGE
    noise = max((width - largest.sum()) / (width - k), SHRINKAGE)  # all variances sum to the number of features
    return 1 / noise, vectors * np.sqrt(np.maximum(1 / noise - 1 / largest, 0))


def _principal(standard: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ``k`` largest squared singular values, and their right vectors as columns."""
    width = standard.shape[1]
    if width <= _DENSE:
        largest, vectors = eigh(standard.T @ standard, subset_by_index=(width - k, width - 1))
        return largest, vectors
    _, singular, transposed = randomized_svd(standard, k, n_iter=4, random_state=0)
    return singular**2, transposed.T
