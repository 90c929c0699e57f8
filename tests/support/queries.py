"""Inputs of people and of attackers who ask again and again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Floats
from ce_detect.monitor.queries import QueryDetector, QuerySettings

SHAPE = (1, 28, 28)
SALT = b"a salt of the tests"


def detector(**settings: float) -> QueryDetector:
    """For images of Fashion-MNIST's size."""
    return QueryDetector(784, (0.0, 1.0), QuerySettings(**settings), salt=SALT)  # type: ignore[arg-type]


def walk(image: Floats, count: int, *, step: float = 0.01, seed: int = 0) -> Floats:
    """Near-copies: an image under noise that is drawn anew for each."""
    noise = np.random.default_rng(seed).normal(0, step, (count, *image.shape))
    return np.clip(image + noise, 0, 1).astype(np.float32)


def zeros(count: int) -> NDArray[np.int64]:
    """One label for all."""
    return np.zeros(count, np.int64)
