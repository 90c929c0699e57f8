"""Images each in a variant of its own: plain, or under one corruption."""

from __future__ import annotations

import numpy as np

from ce_detect.core.types import Bounds, Floats
from ce_detect.data.corruptions.corruption import Corruption, generator_for


def mixture(x: Floats, corruptions: tuple[Corruption, ...], *, share: float, bounds: Bounds, seed: int) -> Floats:
    """Images each in one variant, plain or under one corruption, drawn independently of each other.

    Args:
        x: ``(n, channels, height, width)``.
        corruptions: what may happen, each as often as the others; at least one.
        share: chance that an image is corrupted, in [0, 1].
        bounds: smallest and largest valid pixel value.
        seed: seed of the draws and of the corruptions.

    Returns:
        Of the same shape and order.
    """
    drawn = np.array([_drawn(len(corruptions), share, generator_for(seed, "mixture", image)) for image in x], dtype=int)
    mixed = x.copy()
    for position, corruption in enumerate(corruptions):
        chosen = drawn == position
        mixed[chosen] = corruption(x[chosen], bounds=bounds, seed=seed)
    return mixed


def _drawn(count: int, share: float, generator: np.random.Generator) -> int:
    """Number of a corruption, or −1 for none."""
    return int(generator.integers(count)) if generator.random() < share else -1
