"""What lamps, exposure and colour settings do. Directions are drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Floats
from ce_detect.data.corruptions.pictures import blended, luminance


def brightness(pixels: Floats, amount: float, generator: np.random.Generator) -> NDArray[Any]:
    """The value of HSV is raised or lowered; hue and saturation stay, and black becomes grey."""
    value = pixels.max(axis=0, keepdims=True)
    changed = (value + amount * generator.choice([-1, 1])).clip(0, 1)
    return np.asarray(np.where(value > 0, pixels * (changed / np.maximum(value, 1e-12)), changed))


def contrast(pixels: Floats, factor: float, generator: np.random.Generator) -> NDArray[Any]:
    """The distance from each channel's mean is multiplied."""
    return blended(pixels, pixels.mean(axis=(1, 2), keepdims=True), factor)


def gamma(pixels: Floats, power: float, generator: np.random.Generator) -> NDArray[Any]:
    """Pixels are raised to a power, or to its inverse."""
    return np.asarray(pixels.clip(0, 1) ** (power ** generator.choice([-1, 1])))


def saturation(pixels: Floats, amount: float, generator: np.random.Generator) -> NDArray[Any]:
    """Colours are moved towards grey or away from it by this share."""
    return blended(pixels, luminance(pixels), 1 + amount * generator.choice([-1, 1]))


def white_balance(pixels: Floats, amount: float, generator: np.random.Generator) -> NDArray[Any]:
    """Each channel is multiplied by another factor, up to this far from 1."""
    return pixels * (1 + amount * generator.uniform(-1, 1, (len(pixels), 1, 1)))


def grey(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Colours are taken away, by this share."""
    return blended(pixels, luminance(pixels), 1 - min(share, 1.0))


def vignette(pixels: Floats, amount: float, generator: np.random.Generator) -> NDArray[Any]:
    """Corners are darker by this share, the middle is as it was."""
    y, x = (np.linspace(-1, 1, side) ** 2 for side in pixels.shape[1:])
    return np.asarray(pixels * (1 - amount * (y[:, None] + x) / 2))
