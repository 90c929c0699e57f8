"""GeoDA, under NumPy 2 and with an end."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion
from numpy.typing import NDArray

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.attacks.art_patches import starting_points
from ce_detect.core.types import Floats


class GeoDA(evasion.GeoDA):  # type: ignore[misc]
    """Runs under NumPy 2, on images that are not square, and ends.

    ART needs the removed ``np.mat``, writes its basis into the current folder, searches a start for ever where noise
    never fools the classifier, and returns images that crossed the boundary no more. Its steps along the normal
    are absolute and overshoot small images; here they are parts of the longest way there is.
    """

    def __init__(self, estimator: Estimator, *, init_size: int, **settings: Any) -> None:
        try:
            super().__init__(estimator, **settings)
        except (IndexError, RecursionError) as error:
            raise ValueError(
                "ART finds no plan for so few queries: use a max_iter of 500 or more and a lambda_param of 0.4 to 1"
            ) from error
        self.init_size = init_size
        self.clip_min, self.clip_max = estimator.clip_values
        self.sub_basis = cosines(self.sub_dim, *estimator.input_shape[1:])

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images."""
        labels = self.estimator.labels(x)
        starts, found = starting_points.find(self.estimator, x, labels, None, trials=self.init_size, others=True)
        attacked = x.copy()
        for row in np.flatnonzero(found):
            one_hot = np.eye(self.estimator.nb_classes, dtype=np.float32)[labels[[row]]]
            attacked[row] = self._nearest(x[[row]], one_hot, starts[[row]])[0]
        return attacked

    def _nearest(self, x: Floats, y: Floats, start: Floats) -> Floats:
        nearest: Floats = self._binary_search(x, y, start, tol=self.bin_search_tol)
        boundary = nearest
        normal = np.zeros_like(x)
        for queries in self.q_opt_iter[: self.iterate]:
            estimate, _ = self._black_grad_batch(boundary, queries, self.batch_size, y)
            normal = normal + estimate
            moved = self._go_to_boundary(x, y, normal)
            if not self._is_adversarial(moved, y):
                break
            boundary = self._binary_search(x, y, moved, tol=self.bin_search_tol)
            nearest = min(nearest, boundary, key=lambda image: float(np.linalg.norm(image - x)))
        return nearest

    def _go_to_boundary(self, x: Floats, y: Floats, grad: Floats) -> Floats:
        longest = (self.clip_max - self.clip_min) * np.sqrt(x.size)
        lengths = np.linspace(0, longest, 101, dtype=np.float32)[1:, None, None, None]
        along = np.clip(x + lengths * grad / max(float(np.linalg.norm(grad)), 1e-12), self.clip_min, self.clip_max)
        fooled = self.estimator.labels(along) != y.argmax()
        nearest: Floats = along[[fooled.argmax()]]
        return nearest


def cosines(count: int, height: int, width: int) -> Floats:
    """Lowest two-dimensional cosines, ``(height * width, count ** 2)``, orthonormal columns."""

    def waves(size: int) -> NDArray[np.float64]:
        frequency, position = np.arange(min(count, size))[:, None], np.arange(size)
        scale = np.where(frequency == 0, 1, 2) / size
        return np.asarray(np.sqrt(scale) * np.cos((2 * position + 1) * frequency * np.pi / (2 * size)))

    basis = np.einsum("uh,vw->hwuv", waves(height), waves(width))
    return np.asarray(basis.reshape(height * width, -1), dtype=np.float32)
