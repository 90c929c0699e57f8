"""Bootstrap intervals that respect which attacked image comes from which clean one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of clean images and of attacked twins of some of them.

    Attributes:
        clean: ``(n,)``.
        attacked: for each attack the scores ``(m,)`` and the positions ``(m,)`` of the clean twins.
    """

    clean: Floats
    attacked: Mapping[str, tuple[Floats, NDArray[np.int64]]]

    def drawn(self, images: NDArray[np.int64]) -> Scores:
        """The scores of ``images`` (positions, with repetition), each with its attacked twins."""
        times = np.bincount(images, minlength=len(self.clean))
        attacked = {
            name: (np.repeat(scores, times[twins]), np.repeat(twins, times[twins]))
            for name, (scores, twins) in self.attacked.items()
        }
        return Scores(self.clean[images], attacked)


def interval(
    scores: Scores,
    figure: Callable[[Scores], float],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a figure (Efron 1979), images drawn with replacement, their twins with them.

    Args:
        scores: what was measured.
        figure: computes the figure; a draw in which it is NaN does not count.
        draws: number of redraws.
        level: share of the redraws inside the interval.
        seed: seed of the redraws.

    Returns:
        Lower and upper end.
    """
    generator = np.random.default_rng(seed)
    n = len(scores.clean)
    values: Any = [figure(scores.drawn(generator.integers(0, n, n))) for _ in range(draws)]
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
