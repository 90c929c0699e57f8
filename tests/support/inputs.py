"""Inputs for a classifier of small colour images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ce_detect.data.tensors import checked

SHAPE = (3, 4, 5)

PIXELS = np.random.default_rng(0).uniform(size=(2, *SHAPE)).astype(np.float32)


def check(x: Any, bounds: tuple[float, float] = (0.0, 1.0)) -> torch.Tensor:
    """Check inputs for a classifier of colour images of four by five pixels."""
    return checked(x, input_shape=SHAPE, bounds=bounds)
