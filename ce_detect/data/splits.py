"""Splits by image identity: copies of an image carry no new evidence, and may not lie on both sides of a split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from ce_detect.core.types import Bounds, Index
from ce_detect.data.lazy import Pixels, chunks

Identities = NDArray[np.uint64]

CELLS = 8
"""Parts of height and width by whose means images are told to look alike."""

ALIKE = 0.03
"""Difference of two images that look alike: two of Square at 8/255 rarely differ by more, and two others by less."""

_IMAGES = 64  # that are read at a time
_ROWS = 200  # images that are compared with all others at a time


def identities(x: Pixels) -> Identities:
    """A number ``(n,)`` for each image: the first eight bytes of SHA-256 of its pixels as float32.

    Different images of any data set share a number with a chance below one in a million.
    """
    numbers = [
        int.from_bytes(hashlib.sha256((image + 0.0).tobytes()).digest()[:8])  # -0.0 equals 0.0, in other bits
        for part in chunks(x, _IMAGES)
        for image in part
    ]
    return np.array(numbers, np.uint64)


def first_of_each(known: Identities) -> Index:
    """Positions of the first of each group of equal identities, ascending."""
    _, first = np.unique(known, return_index=True)
    return np.sort(first).astype(np.int64)


def distinct(x: Pixels) -> Index:
    """Positions of the first of each group of equal images, ascending."""
    return first_of_each(identities(x))


def near_copies(x: Pixels, bounds: Bounds) -> Identities:
    """A number ``(n,)`` for each group of images that look alike: frames of a film, attacks on one image.

    Two images look alike where the means of `CELLS` by `CELLS` parts differ by less than `ALIKE` of the pixel range, as
    root mean square. Whatever looks like one of a group belongs to it.

    Args:
        x: ``(n, channels, height, width)``.
        bounds: smallest and largest valid pixel value.
    """
    low, high = bounds
    small = np.concatenate([_cells(part).reshape(len(part), -1) for part in chunks(x, _IMAGES)]) / (high - low)
    index = NearestNeighbors(radius=ALIKE * np.sqrt(small.shape[1])).fit(small)
    groups = np.arange(len(small))
    for start in range(0, len(small), _ROWS):  # of a long film all pairs look alike, which are too many to keep
        near = index.radius_neighbors_graph(small[start : start + _ROWS]).tocoo()
        first = np.unique(groups, return_index=True)[1]  # so far, of each group
        pairs = np.append(near.row + start, np.arange(len(small))), np.append(near.col, first[groups])
        alike = coo_array((np.ones(len(pairs[0]), bool), pairs), (len(small), len(small)))
        _, groups = connected_components(alike, directed=False)
    return groups.astype(np.uint64)


def _cells(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of the parts of images, as many as there are pixels where these are fewer."""
    for axis in (2, 3):
        parts = np.array_split(x, min(CELLS, x.shape[axis]), axis)
        x = np.concatenate([part.mean(axis, keepdims=True) for part in parts], axis)
    return x


def split(known: Identities, fractions: Mapping[str, float], seed: int) -> dict[str, Index]:
    """Split images by their identities; see `split_by_identity`."""
    _, identity = np.unique(known, return_inverse=True)
    count = int(identity.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    parts = np.split(order, np.cumsum(list(sizes(count, fractions).values()))[:-1])
    return {
        name: np.flatnonzero(np.isin(identity, part)).astype(np.int64)
        for name, part in zip(fractions, parts, strict=True)
    }


def sizes(count: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """How many of so many distinct images each split gets, see `split_by_identity`."""
    ends = np.round(np.cumsum(list(fractions.values())) * count).astype(int)
    return {name: int(size) for name, size in zip(fractions, np.diff(ends, prepend=0), strict=True)}


def split_by_identity(x: Pixels, fractions: Mapping[str, float], seed: int) -> dict[str, Index]:
    """Split images so that equal images, and so also their attacked twins, stay on one side.

    Args:
        x: ``(n, channels, height, width)``.
        fractions: share of the distinct images for each split; they must sum to 1.
        seed: seed of the shuffle.

    Returns:
        Indices into ``x`` for each split, ascending.
    """
    return split(identities(x), fractions, seed)


def fingerprint(x: Pixels) -> str:
    """SHA-256 of the pixels of all images, as float32."""
    digest = hashlib.sha256()
    for part in chunks(x, _IMAGES):
        digest.update(part.tobytes())
    return digest.hexdigest()
