"""Counterfactuals trained in seconds: of handwritten zeros and ones, and of images whose class is a square."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ce_detect.counterfactual import Counterfactual, TrainingSettings, fit
from support.digits import digits

SHORT = TrainingSettings(steps=6, batch=8, width=4, depth=1)
"""Long enough for a checkpoint, too short to learn anything."""


def zeros_and_ones() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images ``(360, 1, 8, 8)`` in [0, 1] of two digits, and their labels."""
    x, y = digits()
    return x[y < 2], y[y < 2]


@functools.lru_cache
def trained(settings: TrainingSettings = SHORT) -> Counterfactual:
    """A pair for zeros and ones."""
    return fit(*zeros_and_ones(), settings, cache=fresh_folder(), progress=False)


def squares(count: int = 240) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noise ``(count, 1, 8, 8)``, where class 1 has a bright square in the upper left quarter."""
    generator = np.random.default_rng(0)
    x = generator.uniform(0.2, 0.4, (count, 1, 8, 8)).astype(np.float32)
    y = np.arange(count) % 2
    x[y == 1, :, 1:4, 1:4] = 0.9
    return x, y


def fresh_folder() -> Path:
    """A folder of its own, for checkpoints."""
    return Path(tempfile.mkdtemp(prefix="ce-detect-test-"))
