"""Inputs as tensors, checked by the rules of `ce_detect.checks`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ce_detect import checks
from ce_detect.checks import Bounds
from ce_detect.data.pixels import Floats, Pixels, chunks


def checked(x: Any, *, input_shape: tuple[int, ...], bounds: Bounds) -> Tensor:
    """Return the inputs as a float32 tensor, or say what is wrong with them.

    Args:
        x: NumPy array or tensor ``(batch, channels, height, width)`` of any floating type.
        input_shape: ``(channels, height, width)`` that is expected.
        bounds: smallest and largest valid pixel value.

    Raises:
        InputError: see `ce_detect.checks.checked`.
    """
    if isinstance(x, np.ndarray):
        return _from_numpy(checks.checked(x, input_shape=input_shape, bounds=bounds))
    if not isinstance(x, Tensor):
        raise checks.unknown_kind(x, "a NumPy array or a torch tensor", input_shape)
    checks.check_form(tuple(x.shape), x.dtype, floating=x.is_floating_point(), input_shape=input_shape, bounds=bounds)
    tensor = x.detach().to(torch.float32)
    least, largest = (float(value) for value in tensor.aminmax())
    checks.check_values(least, largest, bounds, len(tensor), lambda: checks.not_finite(tensor.cpu().numpy()))
    checks.warn_of_darkness(least, largest, bounds)
    return tensor


def batches(x: Pixels, size: int, device: torch.device | str) -> Iterator[Tensor]:
    """Yield the images as float32 tensors on a device, ``size`` at a time, or fewer where they are large."""
    for part in chunks(x, checks.together(size, x.shape[1:])):
        yield _from_numpy(np.ascontiguousarray(part, np.float32)).to(device)


def _from_numpy(x: Floats) -> Tensor:
    return torch.from_numpy(x if x.flags.writeable else x.copy())
