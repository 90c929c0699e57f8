"""The clean image that is most like an input: what it should have looked like to the gate."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ce_detect.core.types import Floats
from ce_detect.data import Images, rows

SIDE = 16
"""Pixels of a side in which pictures are first compared."""

CLOSE = 32
"""Pictures that are then compared in full."""

MOST = 20_000
"""Clean images that are looked at, the first ones."""


class Neighbours:
    """Clean images among which the nearest is looked for, by the squared difference of pixels.

    Args:
        images: clean ones; they stay in their file where they are large.
    """

    def __init__(self, images: Images) -> None:
        self._images = images.subset(slice(MOST))
        low, high = self._images.bounds or (0.0, 1.0)
        self._low, self._reach = np.float32(low), np.float32(high - low)
        self._small = np.stack([_small(self._unit(place)) for place in range(len(self._images))])

    def nearest(self, pixels: Floats) -> Floats:
        """The clean image ``(channels, height, width)`` in [0, 1] that is most like another such image."""
        distance = ((self._small - _small(pixels)) ** 2).sum(1)
        close = np.argsort(distance, kind="stable")[:CLOSE]
        found = [self._unit(int(place)) for place in close]
        alike = [one for one in found if one.shape == pixels.shape]
        return min(alike, key=lambda one: float(((one - pixels) ** 2).sum())) if alike else found[0]

    def _unit(self, place: int) -> Floats:
        pixels: Any = np.asarray(rows(self._images.pixels, slice(place, place + 1)))[0]
        found: Floats = (pixels - self._low) / self._reach
        return found


def _small(pixels: Floats) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(pixels.mean(axis=0), np.float32))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
