"""What sensors add."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Floats


def gaussian(pixels: Floats, deviation: float, generator: np.random.Generator) -> NDArray[Any]:
    """Independent noise of this standard deviation, as a share of the range."""
    return pixels + generator.normal(scale=deviation, size=pixels.shape)


def shot(pixels: Floats, photons: float, generator: np.random.Generator) -> NDArray[Any]:
    """Photons are counted, so many at full brightness (Poisson)."""
    return np.asarray(generator.poisson(pixels.clip(0, 1) * photons) / photons)


def uniform(pixels: Floats, levels: float, generator: np.random.Generator) -> NDArray[Any]:
    """Every value moves by a whole number of steps of an 8-bit file, at random up to so many."""
    most = round(levels)
    return pixels + generator.integers(-most, most + 1, pixels.shape) / 255


def dead(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """So many pixels, one at least, are black or white."""
    height, width = pixels.shape[1:]
    count = max(1, round(share * height * width))
    places = generator.choice(height * width, count, replace=False)
    changed = pixels.reshape(len(pixels), -1).copy()
    changed[:, places] = generator.integers(0, 2, count)
    return changed.reshape(pixels.shape)
