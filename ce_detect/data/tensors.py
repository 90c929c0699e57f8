"""Inputs as tensors, checked by the rules of `ce_detect.data.validation`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ce_detect.core.types import Bounds, Floats
from ce_detect.data import validation
from ce_detect.data.lazy import Pixels, batch_size, chunks


def checked(x: Any, *, input_shape: tuple[int, ...], bounds: Bounds) -> Tensor:
    """Return the inputs as a float32 tensor, or say what is wrong with them.

    Args:
        x: NumPy array or tensor ``(batch, channels, height, width)`` of any floating type.
        input_shape: ``(channels, height, width)`` that is expected.
        bounds: smallest and largest valid pixel value.

    Raises:
        InputError: see `ce_detect.data.validation.checked`.
    """
    if isinstance(x, np.ndarray):
        return _from_numpy(validation.checked(x, input_shape=input_shape, bounds=bounds))
    if not isinstance(x, Tensor):
        raise validation.unknown_kind(x, "a NumPy array or a torch tensor", input_shape)
    validation.check_form(
        tuple(x.shape), x.dtype, floating=x.is_floating_point(), input_shape=input_shape, bounds=bounds
    )
    tensor = x.detach().to(torch.float32)
    least, largest = (float(value) for value in tensor.aminmax())
    validation.check_values(least, largest, bounds, len(tensor), lambda: validation.not_finite(tensor.cpu().numpy()))
    validation.warn_of_darkness(least, largest, bounds)
    return tensor


def batches(x: Pixels, size: int, device: torch.device | str) -> Iterator[Tensor]:
    """Yield the images as float32 tensors on a device, ``size`` at a time, or fewer where they are large."""
    for part in chunks(x, batch_size(size, x.shape[1:])):
        yield _from_numpy(np.ascontiguousarray(part, np.float32)).to(device)


def _from_numpy(x: Floats) -> Tensor:
    return torch.from_numpy(x if x.flags.writeable else x.copy())


def scaled(levels: Tensor, bounds: Bounds) -> Tensor:
    """Pixels within the bounds from grey levels of 0 to 255."""
    low, high = bounds
    return levels.float() / (255 / (high - low)) + low


def quantised(x: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Grey levels ``(n, height, width, channels)`` nearest to pixels, and the pixels that they stand for."""
    low, high = bounds
    levels = ((x - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous(), scaled(levels, bounds)
