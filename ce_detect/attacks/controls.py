"""Controls: changes as large as an attack's that are no attack, as an 8-bit file holds them. None must be flagged."""

from __future__ import annotations

import numpy as np

from ce_detect.core.types import Bounds, Floats, Index
from ce_detect.data.corruptions import generator_for
from ce_detect.data.corruptions.pictures import stored
from ce_detect.data.lazy import Lazy, Pixels


def shuffled(clean: Floats, perturbation: Floats, *, bounds: Bounds, generator: np.random.Generator) -> Floats:
    """Add a perturbation with its pixels in another order: as large, with the same histogram, without its structure.

    Args:
        clean: one image ``(channels, height, width)``.
        perturbation: of an attack, on this image or another one of the same shape.
        bounds: smallest and largest valid pixel value.
        generator: draws the order, which is the same in every channel.
    """
    flat = perturbation.reshape(len(perturbation), -1)
    moved = flat[:, generator.permutation(flat.shape[1])].reshape(perturbation.shape)
    return rounded(clean + moved, bounds)


def uniform(clean: Floats, eps: float, *, bounds: Bounds, generator: np.random.Generator) -> Floats:
    """Add noise that is uniform between -eps and eps, in pixel values."""
    return rounded(clean + generator.uniform(-eps, eps, clean.shape).astype(np.float32), bounds)


def signs(clean: Floats, eps: float, *, bounds: Bounds, generator: np.random.Generator) -> Floats:
    """Add -eps or eps to every value, in pixel values."""
    return rounded(clean + np.float32(eps) * generator.choice([-1, 1], clean.shape).astype(np.float32), bounds)


def rounded(x: Floats, bounds: Bounds) -> Floats:
    """Round to what an 8-bit file holds, within the bounds."""
    low, high = bounds
    return stored((x - low) / (high - low), bounds)


class Shuffled(Lazy):
    """Clean images, each with its own attack's perturbation shuffled.

    Args:
        attacked: ``(n, channels, height, width)``.
        clean: their twins, in the same order.
        bounds: smallest and largest valid pixel value.
        seed: with the image it says in which order the pixels are.
    """

    def __init__(self, attacked: Pixels, clean: Pixels, bounds: Bounds, seed: int) -> None:
        super().__init__(attacked.shape)
        self._attacked, self._clean, self._bounds, self._seed = attacked, clean, bounds, seed

    def _read(self, positions: Index) -> Floats:
        made = np.empty((len(positions), *self.shape[1:]), np.float32)
        for place, (image, twin) in enumerate(zip(self._clean[positions], self._attacked[positions], strict=True)):
            draw = generator_for(self._seed, "control", image)
            made[place] = shuffled(image, twin - image, bounds=self._bounds, generator=draw)
        return made
