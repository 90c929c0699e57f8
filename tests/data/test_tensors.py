"""Inputs as tensors: what is let in, and as what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.inputs import PIXELS, check

from ce_detect.core.errors import InputError
from ce_detect.data.tensors import batches, quantised, scaled


def frozen(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy that cannot be written to."""
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "x",
    [
        PIXELS,
        PIXELS.astype(np.float64),
        PIXELS.astype(">f4"),
        frozen(PIXELS),
        np.asfortranarray(PIXELS),
        PIXELS[::-1][::-1],
        np.ma.masked_array(PIXELS),
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS).double(),
        torch.from_numpy(PIXELS).requires_grad_(True),
        torch.from_numpy(PIXELS.transpose(0, 2, 3, 1).copy()).permute(0, 3, 1, 2),
    ],
    ids=[
        "float32", "float64", "big-endian", "read-only", "fortran", "reversed", "masked", "tensor", "double", "grad",
        "permuted",
    ],
)  # fmt: skip
def test_floating_arrays_are_let_in(x: Any) -> None:
    """NumPy arrays and tensors of any floating type and layout become float32 tensors of the same values."""
    tensor = check(x)
    assert tensor.dtype == torch.float32
    assert not tensor.requires_grad
    np.testing.assert_allclose(tensor.numpy(), PIXELS, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_let_in(dtype: torch.dtype) -> None:
    """Half precision is widened, as a tensor and, where NumPy has it, as an array."""
    half = torch.from_numpy(PIXELS).to(dtype)
    assert torch.equal(check(half), half.float())
    assert torch.equal(check(PIXELS.astype(np.float16)), torch.from_numpy(PIXELS).half().float())


def test_callers_array_is_left_alone() -> None:
    """The gate may not write into what it was given through what it got: a read-only array is copied."""
    x = frozen(PIXELS)
    check(x)[:] = 0
    np.testing.assert_array_equal(x, PIXELS)


def test_overflow_to_single_precision_is_turned_away() -> None:
    """A double that single precision cannot hold is not let in as infinity."""
    x = PIXELS.astype(np.float64)
    x[1, 0, 0, 0] = 1e300
    with np.errstate(over="ignore"), pytest.raises(InputError, match="first at position 1"):
        check(x)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_grey_levels_are_the_nearest_ones(bounds: tuple[float, float]) -> None:
    """Levels come channels last, half a level from their pixels at most, and are what their own pixels give again."""
    low, high = bounds
    x = torch.from_numpy(low + (high - low) * PIXELS)
    levels, pixels = quantised(x, bounds)
    assert (levels.dtype, tuple(levels.shape)) == (torch.uint8, (2, 4, 5, 3))
    assert (pixels - x).abs().max() <= 0.501 * (high - low) / 255
    assert torch.equal(scaled(levels.permute(0, 3, 1, 2), bounds), pixels)
    assert torch.equal(quantised(pixels, bounds)[0], levels)


def test_batches_are_small_where_images_are_large() -> None:
    """All rows come in order, as many at a time as asked for, or as fit."""
    assert [len(part) for part in batches(np.zeros((7, 1, 2, 2)), 3, "cpu")] == [3, 3, 1]
    large = np.zeros((3, 3, 1000, 800), np.float32)
    assert [len(part) for part in batches(large, 3, "cpu")] == [1, 1, 1]
