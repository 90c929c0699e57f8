"""Learn what clean signatures look like: a Mahalanobis distance, which needs no attack."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

from ce_detect.core.types import Floats, Index
from ce_detect.features.signature import Signature, feature_names
from ce_detect.heads.base import ROWS, Head, squashing
from ce_detect.heads.mahalanobis import DistanceHead

Doubles = NDArray[np.float64]

SHRINKAGE = 0.1
"""Weight of the identity in a correlation matrix, so that what barely varies on clean images does not decide alone."""

MOST_DIRECTIONS = 64
"""Directions in which a group of features may vary, at most."""

MOST_VALUES = 92_000
"""Values in all directions of all groups, at most: they are most of what an exported graph adds to its model."""

ROWS_A_DIRECTION = 10
"""Images needed for each of them."""

START = ("trace.log-odds", "trace.energy", "trace.log-margin")
"""Where an effect starts from; the same effect is ordinary for one margin and odd for another."""

_CHANNEL = re.compile(r"trace\.(?:mean|deviation)\[(.*)\]\[\d+\]")
"""Moments of a channel, which are in a group with all those of their site."""

_JOINS = {**dict.fromkeys(START, "trace.logit"), "trace.contrast": "trace.contribution"}
"""Kinds of features that have no group of their own, and the kind whose group they are in."""

_DENSE = 256
"""Features in a group beyond which only the directions that are kept are worked out, by Lanczos' method."""

_LEAST_DEVIATION = 1e-3
"""Standard deviation of a squashed feature below which it has no scale to measure by, and is left out."""


def distance_head(signature: Signature, clean: Floats, *, most: int = MOST_VALUES) -> DistanceHead:
    """Fit a distance from clean signatures.

    The squared distance is the mean, over groups of features, of a squared Mahalanobis distance in the group divided
    by the group's size. So each intervention counts as much as all logits or as all channels of a site; in one joint
    distance hundreds of channels would drown six effects.

    Args:
        signature: what makes the features.
        clean: signatures of clean images ``(n, features)``.
        most: values in all directions, at most.
    """
    center, scale = squashing(clean)
    squash = Head(center, scale)
    mean, deviation = _moments(clean, squash)
    varies = deviation > _LEAST_DEVIATION
    unit = np.where(varies, deviation, 1.0)
    groups = [columns[varies[columns]] for columns in _groups(signature)]
    groups = [columns for columns in groups if len(columns)]
    precision = np.zeros(len(mean))
    directions = []
    kept = _shares(len(mean), [len(columns) for columns in groups], len(clean), most)
    for columns, k in zip(groups, kept, strict=True):
        standard = partial(_standard, clean, squash, mean, unit, columns)
        diagonal, product = _inverse_covariance(standard, len(clean), len(columns), k)
        precision[columns] += diagonal / len(columns)
        placed = np.zeros((len(mean), product.shape[1]))
        placed[columns] = product / np.sqrt(len(columns))
        directions.append(placed)
    count = len(directions)
    return DistanceHead(
        center,
        scale,
        torch.from_numpy(mean),
        torch.from_numpy(precision / unit**2 / count),
        torch.from_numpy(np.concatenate(directions, axis=1) / unit[:, None] / np.sqrt(count)),
    )


def _groups(signature: Signature) -> list[Index]:
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
    """The group of a feature: the site of a channel, else what its name begins with."""
    channel = _CHANNEL.fullmatch(name)
    kind = name.partition("[")[0]
    return channel[1] if channel else _JOINS.get(kind, kind)


def _standard(clean: Floats, squash: Head, mean: Doubles, unit: Doubles, columns: Index) -> Iterator[Doubles]:
    """Yield some columns of the squashed signatures, less their mean and over their deviation, some rows at a time.

    Never all rows: in double precision they would be the largest thing in memory.
    """
    part = Head(squash.center[columns], squash.scale[columns])
    for first in range(0, len(clean), ROWS):
        squashed = part.squash(torch.from_numpy(clean[first : first + ROWS, columns]))
        yield (squashed.double().numpy() - mean[columns]) / unit[columns]


def _moments(clean: Floats, squash: Head) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of the squashed signatures, each ``(features,)``."""
    count, width = clean.shape
    zero, one, all_of_them = np.zeros(width), np.ones(width), np.arange(width)
    mean = np.sum([part.sum(0) for part in _standard(clean, squash, zero, one, all_of_them)], axis=0) / count
    squares = [np.square(part).sum(0) for part in _standard(clean, squash, mean, one, all_of_them)]
    return mean, np.sqrt(np.sum(squares, axis=0) / count)


def _shares(features: int, widths: list[int], rows: int, most: int) -> list[int]:
    """How many directions each group keeps."""
    wanted = [min(MOST_DIRECTIONS, max(1, rows // ROWS_A_DIRECTION), width - 1) for width in widths]
    room = most / max(1, features * sum(wanted))
    return wanted if room >= 1 else [min(k, max(1, int(k * room))) for k in wanted]


def _inverse_covariance(
    standard: Callable[[], Iterator[Doubles]], rows: int, width: int, k: int
) -> tuple[float, Doubles]:
    """The inverse as ``d`` times the identity less ``a @ a.T``: ``d``, and ``a`` ``(features, k)``.

    Args:
        standard: yields standardised signatures ``(some rows, width)`` from the first to the last.
        rows: how many there are in all.
        width: features in the group.
        k: directions.
    """
    if not k:
        return 1.0, np.zeros((1, 0))
    largest, vectors = _principal(standard, width, k)
    largest = (1 - SHRINKAGE) * largest / rows + SHRINKAGE
    noise = max((width - largest.sum()) / (width - k), SHRINKAGE)  # all variances sum to the number of features
    return 1 / noise, vectors * np.sqrt(np.maximum(1 / noise - 1 / largest, 0))


def _principal(standard: Callable[[], Iterator[Doubles]], width: int, k: int) -> tuple[Doubles, Doubles]:
    """The ``k`` largest squared singular values, and their right vectors as columns."""
    gram = sum((part.T @ part for part in standard()), np.zeros((width, width)))
    if width <= _DENSE:
        largest, vectors = eigh(gram, subset_by_index=(width - k, width - 1))
    else:
        largest, vectors = eigsh(gram, k, v0=np.random.default_rng(0).normal(size=width))
    return largest, vectors
