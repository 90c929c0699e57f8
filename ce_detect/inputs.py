"""The door: every array is checked before the classifier sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ce_detect.errors import InputError


def checked(x: Any, *, input_shape: tuple[int, ...], bounds: tuple[float, float]) -> Tensor:
    """Return the inputs as a float32 tensor, or say what is wrong with them.

    Args:
        x: NumPy array or tensor ``(batch, channels, height, width)`` of any floating type.
        input_shape: ``(channels, height, width)`` that is expected.
        bounds: smallest and largest valid pixel value.

    Raises:
        InputError: not an array, wrong shape or type, empty, NaN or infinite, or out of bounds.
    """
    expected = f"expected (batch, {', '.join(map(str, input_shape))})"
    if not isinstance(x, np.ndarray | Tensor):
        raise InputError(f"got {type(x).__name__}, expected a NumPy array or a torch tensor; {expected}")
    if tuple(x.shape[1:]) != input_shape or x.ndim != 4:
        raise InputError(f"got shape {tuple(x.shape)}, {expected}{_shape_remedy(tuple(x.shape), input_shape)}")
    if x.shape[0] == 0:
        raise InputError(f"got an empty batch, {expected} with at least one input")
    floating = np.issubdtype(x.dtype, np.floating) if isinstance(x, np.ndarray) else x.is_floating_point()
    if not floating:
        low, high = bounds
        raise InputError(
            f"got {x.dtype} pixels, expected floating point within [{low:g}, {high:g}]; convert and scale them first"
        )
    tensor = _float32(x)
    _check_range(tensor, bounds)
    return tensor


def _float32(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x.detach().to(torch.float32)
    array = np.ascontiguousarray(x, dtype=np.float32)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _shape_remedy(shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if shape == expected:
        return "; for a single input pass x[None]"
    channels, height, width = expected
    if shape[1:] == (height, width, channels):
        return "; channels come first: pass x.transpose(0, 3, 1, 2) or x.permute(0, 3, 1, 2)"
    return ""


def _check_range(x: Tensor, bounds: tuple[float, float]) -> None:
    low, high = bounds
    least, largest = (float(v) for v in x.aminmax())
    if not (np.isfinite(least) and np.isfinite(largest)):
        bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(f"NaN or infinite pixels in {len(bad)} of {len(x)} inputs, first at position {bad[0]}")
    slack = 1e-5 * (high - low)
    if least < low - slack or largest > high + slack:
        raise InputError(
            f"pixels range from {least:g} to {largest:g}, outside the bounds [{low:g}, {high:g}]. Scale the inputs as "
            "at calibration; preprocessing such as mean and standard deviation belongs inside the model"
        )


def found_bounds(x: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Guess the bounds from clean images: [0, 1] or [0, 255].

    Raises:
        InputError: the pixels fit neither.
    """
    least, largest = float(x.min()), float(x.max())
    if not (np.isfinite(least) and np.isfinite(largest)):
        raise InputError("NaN or infinite pixels among the images; remove those images before calibration")
    if least >= 0 and largest <= 1:
        return 0.0, 1.0
    if least >= 0 and 16 < largest <= 255:
        return 0.0, 255.0
    raise InputError(
        f"pixels range from {least:g} to {largest:g}, which tells no bounds. Name them: "
        "DetectedModel(model, bounds=(low, high)). If the images are normalised by mean and standard deviation, "
        "move that step into the model and pass pixels in [0, 1]"
    )
