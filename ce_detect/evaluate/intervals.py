"""Bootstrap intervals that respect which attacked image comes from which clean one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ce_detect.core.types import Floats, Index


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of clean images and of attacked twins of some of them.

    Attributes:
        clean: ``(n,)``.
        attacked: for each attack the scores ``(m,)`` and the positions ``(m,)`` of the clean twins.
    """

    clean: Floats
    attacked: Mapping[str, tuple[Floats, Index]]

    def drawn(self, images: Index) -> Scores:
        """The scores of ``images`` (positions, with repetition), each with its attacked twins."""
        times = np.bincount(images, minlength=len(self.clean))
        attacked = {
            name: (np.repeat(scores, times[twins]), np.repeat(twins, times[twins]))
            for name, (scores, twins) in self.attacked.items()
        }
        return Scores(self.clean[images], attacked)


def intervals(
    scores: Scores,
    figures: Mapping[str, Callable[[Scores], float]],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of figures (Efron 1979), images drawn with replacement, their twins with them.

    Args:
        scores: what was measured.
        figures: each computes a figure; a draw in which it is NaN does not count for it.
        draws: number of redraws.
        level: share of the redraws inside an interval.
        seed: seed of the redraws.

    Returns:
        Lower and upper end, by name of the figure.
    """
    # scipy.stats.bootstrap gives no interval where a figure is NaN in one draw, as where no twin was drawn
    generator = np.random.default_rng(seed)
    n = len(scores.clean)
    values: dict[str, list[float]] = {name: [] for name in figures}
    for _ in range(draws):
        drawn = scores.drawn(generator.integers(0, n, n))
        for name, figure in figures.items():
            values[name].append(figure(drawn))
    ends = {name: np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2]) for name, found in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}
