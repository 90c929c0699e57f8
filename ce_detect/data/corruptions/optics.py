"""What lenses, hands that shake, and filters do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Floats
from ce_detect.data.corruptions.pictures import blended, ndimage


def gaussian(pixels: Floats, deviation: float, generator: np.random.Generator) -> NDArray[Any]:
    """Blurred by a Gaussian of this standard deviation in pixels."""
    return np.asarray(ndimage().gaussian_filter(pixels, sigma=(0, deviation, deviation), mode="nearest"))


def defocus(pixels: Floats, radius: float, generator: np.random.Generator) -> NDArray[Any]:
    """Blurred by a disk of this radius in pixels."""
    y, x = _grid(radius)
    return _filtered(pixels, (radius + 0.5 - np.hypot(y, x)).clip(0, 1))


def motion(pixels: Floats, length: float, generator: np.random.Generator) -> NDArray[Any]:
    """Blurred along a line of this length in pixels, in a direction drawn at random."""
    y, x = _grid(length / 2)
    angle = generator.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return _filtered(pixels, (length / 2 + 0.5 - abs(along)).clip(0, 1) * (1 - abs(across)).clip(0, 1))


def sharpening(pixels: Floats, amount: float, generator: np.random.Generator) -> NDArray[Any]:
    """Details are raised by this share (unsharp mask of one pixel)."""
    return blended(pixels, gaussian(pixels, 1.0, generator), 1 + amount)


def median(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Median of 3 x 3 pixels, mixed with this share into the image."""
    filtered = ndimage().median_filter(pixels, size=(1, 3, 3), mode="nearest")
    return blended(pixels, filtered, 1 - min(share, 1.0))


def _grid(reach: float) -> tuple[NDArray[Any], NDArray[Any]]:
    most = int(np.ceil(reach + 0.5))
    y, x = np.mgrid[-most : most + 1, -most : most + 1]
    return y, x


def _filtered(pixels: Floats, kernel: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(ndimage().convolve(pixels, (kernel / kernel.sum())[None], mode="nearest"))
