"""Weights that eight bits a number, and a scale a row, give back exactly.

A scale has so few digits that its products with whole numbers up to 127 are exact in float32. So rounded weights are
ordinary float32 arrays wherever they are computed with, and whoever stores them can tell from the numbers alone that a
quarter of the bytes will do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
"""Largest whole number, on either side of zero."""

_DIGITS = 2.0**16  # 17 bits of a scale and 7 of the whole number are the 24 of a float32


_LEAST = np.float32(LARGEST) * np.finfo(np.float32).tiny
"""Largest weight of a row at least: scales below the normal numbers would have too few digits."""


def rounded(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round weights ``(rows, ...)`` to whole multiples of a scale, of which the largest of a row has `LARGEST`."""
    mantissa, exponent = np.frexp(_largest(weights, 0).astype(np.float64) / LARGEST)
    scale = np.ldexp(np.ceil(mantissa * _DIGITS) / _DIGITS, exponent)
    scale = np.where(scale > 0, scale, 1.0)
    return (np.rint(weights / scale) * scale).astype(np.float32)


def packed(weights: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Whole numbers and scales whose products are weights ``(rows, ..., columns)`` exactly.

    None where there are none, or where they would take no less than half the bytes.

    Returns:
        Whole numbers of the shape of the weights, and scales of length 1 along every axis but the first or the last.
    """
    for axis in (0, weights.ndim - 1):
        largest = _largest(weights, axis)
        if not (np.isfinite(largest) & ((largest == 0) | (largest > _LEAST))).all():
            return None
        scale = np.where(largest > 0, largest / np.float32(LARGEST), 1).astype(np.float32)
        whole = np.rint(weights / scale)
        small = 2 * (whole.size + scale.nbytes) < weights.nbytes and np.abs(whole).max(initial=0) <= LARGEST
        if small and np.array_equal(whole * scale, weights):
            return whole.astype(np.int8), scale
    return None


def _largest(weights: NDArray[Any], axis: int) -> NDArray[Any]:
    """Largest magnitude along all axes but one, which keep length 1."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    return np.asarray(np.abs(weights).max(axis=others, keepdims=True, initial=0.0))
