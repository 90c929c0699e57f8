"""Shifts and rotations, the mildest that fools each image."""

from __future__ import annotations

import numpy as np
from art.attacks import evasion
from scipy.ndimage import rotate, shift

from ce_detect.core.types import Floats


class SpatialTransformation(evasion.SpatialTransformation):  # type: ignore[misc]
    """For each image the mildest of the movements that changes its label; images that none of them changes stay.

    ART takes one movement for all images, and takes the number of channels for the height.
    """

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images."""
        labels, attacked = self.estimator.labels(x), x.copy()
        left = np.arange(len(x))
        for movement in self._movements(*x.shape[2:]):
            if not len(left):
                break
            moved = self._perturb(x[left], *movement)
            fooled = self.estimator.labels(moved) != labels[left]
            attacked[left[fooled]] = moved[fooled]
            left = left[~fooled]
        return attacked

    def _movements(self, height: int, width: int) -> list[tuple[float, float, float]]:
        """Pixels down, pixels to the right and degrees, the mildest first."""
        grid = [
            (round(down * self.max_translation / 100 * height), round(right * self.max_translation / 100 * width), turn)
            for down in np.linspace(-1, 1, self.num_translations)
            for right in np.linspace(-1, 1, self.num_translations)
            for turn in np.linspace(-self.max_rotation, self.max_rotation, self.num_rotations)
        ]

        def size(movement: tuple[float, float, float]) -> float:
            down, right, turn = movement
            return (down / height) ** 2 + (right / width) ** 2 + (turn / 180) ** 2

        return sorted(dict.fromkeys(grid), key=size)

    def _perturb(self, x: Floats, trans_x: float, trans_y: float, rot: float) -> Floats:
        moved = shift(x, (0, 0, trans_x, trans_y), order=1)
        return np.asarray(np.clip(rotate(moved, rot, axes=(3, 2), reshape=False, order=1), *self.estimator.clip_values))
