"""Figures with their intervals, by redrawing the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

DRAWS = 2000
"""Redraws of the images for an interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval, the images redrawn."""

    value: float
    low: float
    high: float


def redrawn(
    figures: Callable[..., tuple[float, ...]], *samples: NDArray[Any], seed: int, draws: int = DRAWS
) -> tuple[Interval, ...]:
    """Figures of images, each with its interval by the percentiles of a bootstrap.

    Args:
        figures: takes samples and returns figures.
        samples: one entry for each image ``(n,)``; what belongs to one image is drawn together.
        seed: of the draws.
        draws: how many.
    """
    value = figures(*samples)
    low, high = value, value  # of one image there is nothing to redraw
    if len(samples[0]) > 1:
        low, high = bootstrap(
            samples, figures, paired=True, vectorized=False, n_resamples=draws, method="percentile",
            random_state=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return tuple(Interval(float(value[i]), float(low[i]), float(high[i])) for i in range(len(value)))
