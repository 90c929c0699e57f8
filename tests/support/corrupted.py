"""Images to change, and what a change does to them."""

from __future__ import annotations

import functools

import numpy as np

from ce_detect.core.types import Bounds, Floats
from ce_detect.data import load_data
from ce_detect.data.corruptions import Corruption

UNIT = (0.0, 1.0)

LEVEL = 0.51 / 255
"""Half a level of an 8-bit file."""


@functools.cache
def grey(count: int = 24) -> Floats:
    """Some grey photographs, on 8-bit levels; leave them as they are."""
    return load_data("demo", limit=count).x


def colour(count: int = 8) -> Floats:
    """Colour images: three photographs as the channels of one."""
    return grey(3 * count).reshape(count, 3, 28, 28)


def photographs(count: int = 3) -> Floats:
    """Images of 96 x 80 pixels, whose channels have much in common, as those of real ones do."""
    tall = grey(count).repeat(4, axis=2).repeat(3, axis=3)[:, :, :96, :80]
    mixed = np.concatenate([tall, 0.7 * tall + 0.2, 0.9 * tall], axis=1)
    return (np.round(255 * mixed) / 255).astype(np.float32)


def flat(value: float, *shape: int) -> Floats:
    """One image of one value."""
    return np.full((1, *shape), value, dtype=np.float32)


def corrupted(kind: str, x: Floats, severity: int | None = 1, bounds: Bounds = UNIT, seed: int = 0) -> Floats:
    """Images under one corruption."""
    return Corruption(kind, severity)(x, bounds=bounds, seed=seed)


def changed(kind: str, x: Floats, severity: int | None = 1) -> float:
    """How far pixels move on average."""
    return float(np.abs(corrupted(kind, x, severity) - x).mean())
