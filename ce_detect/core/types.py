"""Types that several rooms share; importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Index = NDArray[np.int64]

Bounds = tuple[float, float]
"""Smallest and largest valid pixel value."""

Setting = float | int | str | bool
"""A plain value, as a recipe or an artifact holds it."""

HeadKind = Literal["mlp", "logistic", "distance"]
"""Heads that a recipe can ask for."""

BASELINES = ("mean", "blur", "noise")
"""What may be put in the place of what a mask hides."""

Precision = Literal["fp32", "fp16", "int8"]
"""What the classifier in an exported graph computes with: float32, float16, or whole numbers of eight bits."""

Progress = Callable[[str, float, float], None]
"""Called with what is being done, the work done so far and the work in all."""
