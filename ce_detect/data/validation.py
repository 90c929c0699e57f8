"""The door: every array is checked before the classifier sees it, and the commonest mistakes are told by name.

Importing this imports no torch; `ce_detect.data.tensors` checks tensors by the same rules.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.core.types import Bounds, Floats
from ce_detect.data.lazy import Pixels, chunks

logger = logging.getLogger("ce_detect")

_IMAGES = 64  # that are checked at a time

_COARSE = frozenset({"float16", "bfloat16"})
"""Types that hold pixels with fewer digits than scores need."""

_DARK = 1 / 200
"""Share of the pixel range below which no real batch stays, but one that was divided by 255 once too often."""

_NARROW = 0.6
"""Share of the pixel range below which many images together hardly stay."""

_INSIDE = (
    "If they are normalised by mean and standard deviation, pass the pixels before that step: it belongs inside the "
    "model, ce_detect.Normalized(model, mean=..., std=...)"
)


def checked(x: Any, *, input_shape: tuple[int, ...], bounds: Bounds) -> Floats:
    """Return the inputs as a contiguous float32 array, or say what is wrong with them.

    Pixels that are within the bounds, but look divided by 255 once too often, are let in with a warning.

    Args:
        x: NumPy array ``(batch, channels, height, width)`` of any floating type.
        input_shape: ``(channels, height, width)`` that is expected.
        bounds: smallest and largest valid pixel value.

    Raises:
        InputError: not an array, wrong shape or type, empty, NaN or infinite, or out of bounds.
    """
    if not isinstance(x, np.ndarray):
        raise unknown_kind(x, "a NumPy array", input_shape)
    refuse_masked(x)
    check_form(x.shape, x.dtype, floating=np.issubdtype(x.dtype, np.floating), input_shape=input_shape, bounds=bounds)
    array = np.ascontiguousarray(x, dtype=np.float32)
    least, largest = float(array.min()), float(array.max())
    check_values(least, largest, bounds, len(array), lambda: not_finite(array))
    warn_of_darkness(least, largest, bounds)
    return array


def unknown_kind(x: object, kinds: str, input_shape: tuple[int, ...]) -> InputError:
    """The error for what is no array, where ``kinds`` would do."""
    return InputError(f"got {type(x).__name__}, expected {kinds}; {_expected(input_shape)}")


def check_form(
    shape: tuple[int, ...], dtype: Any, *, floating: bool, input_shape: tuple[int, ...], bounds: Bounds
) -> None:
    """Check what is known of a batch before its values are looked at.

    Args:
        shape: should be ``(batch, channels, height, width)``.
        dtype: for the message.
        floating: whether it is a floating type.
        input_shape: ``(channels, height, width)`` that is expected.
        bounds: smallest and largest valid pixel value.

    Raises:
        InputError: wrong shape or type, or empty.
    """
    _check_shape(shape, input_shape)
    if shape[0] == 0:
        raise InputError(f"got an empty batch, {_expected(input_shape)} with at least one input")
    if not floating:
        low, high = bounds
        raise InputError(
            f"got {dtype} pixels, expected floating point within [{low:g}, {high:g}]; convert and scale them first"
            + (f": {_grey_levels(bounds)} in floating point" if "uint8" in str(dtype) else "")
        )
    if str(dtype).removeprefix("torch.") in _COARSE:
        _warn_of_rounding(str(dtype))


def refuse_masked(x: NDArray[Any]) -> None:
    """Refuse an array that hides some of its values: they would be judged like the others.

    Raises:
        InputError: it does.
    """
    hidden = int(np.ma.getmaskarray(x).sum()) if np.ma.is_masked(x) else 0
    if hidden:
        raise InputError(
            f"got a masked array that hides {hidden} of {x.size} values, expected pixels that are all "
            "there; pass x.filled(value) with what should stand in their place"
        )


@functools.cache
def _warn_of_rounding(dtype: str) -> None:
    """Say once in a process that pixels of a type are rounded."""
    logger.warning(
        "got %s pixels, which are rounded more than those of the calibration: scores change, and verdicts near the "
        "threshold may flip. Pass float32", dtype,
    )  # fmt: skip


def check_values(least: float, largest: float, bounds: Bounds, count: int, bad: Callable[[], Sequence[int]]) -> None:
    """Check the range of the pixels of a batch.

    Args:
        least: smallest value; NaN where there is one.
        largest: largest value.
        bounds: smallest and largest valid pixel value.
        count: number of inputs.
        bad: finds the positions of inputs that are not finite throughout.

    Raises:
        InputError: NaN or infinite, or out of bounds.
    """
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise _not_finite(bad(), count)
    _check_range(least, largest, bounds)


def warn_of_darkness(least: float, largest: float, bounds: Bounds) -> None:
    """Say so where the pixels of a batch look divided by 255 once too often."""
    if _is_dark(least, largest, bounds):
        logger.warning(_dark(least, largest, bounds))


def not_finite(x: NDArray[Any]) -> list[int]:
    """Positions of inputs ``(batch, ...)`` with NaN or infinite pixels."""
    return [int(i) for i in np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1))]


def check_all(x: Pixels, *, input_shape: tuple[int, ...], bounds: Bounds) -> None:
    """Check the images of a calibration, a few at a time, also for what a single input cannot tell.

    Args:
        x: ``(n, channels, height, width)``.
        input_shape: ``(channels, height, width)`` that is expected.
        bounds: smallest and largest valid pixel value.

    Raises:
        InputError: wrong shape, NaN or infinite, out of bounds, or so dark that they must have been scaled twice.
    """
    _check_shape(x.shape, input_shape)
    extremes, bad, start = [], [], 0
    for part in chunks(x, _IMAGES):
        flat = part.reshape(len(part), -1)
        extremes.append((flat.min(), flat.max()))
        if not np.isfinite(extremes[-1]).all():
            bad += [start + i for i in not_finite(flat)]
        start += len(part)
    if bad:
        raise _not_finite(bad, len(x))
    least, largest = float(np.min(extremes)), float(np.max(extremes))
    _check_range(least, largest, bounds)
    if _is_dark(least, largest, bounds):
        raise InputError(_dark(least, largest, bounds))
    low, high = bounds
    if largest - least < _NARROW * (high - low):
        logger.warning(
            "the pixels of all images lie between %g and %g, but the bounds are [%g, %g]; check that they are scaled "
            "as the model expects", least, largest, low, high,
        )  # fmt: skip


def _expected(input_shape: tuple[int, ...]) -> str:
    return f"expected (batch, {', '.join(map(str, input_shape))})"


def _not_finite(bad: Sequence[int], count: int) -> InputError:
    return InputError(f"NaN or infinite pixels in {len(bad)} of {count} inputs, first at position {bad[0]}")


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape[1:] != expected or len(shape) != 4:
        remedy = _shape_remedy(shape, expected)
        raise InputError(f"got shape {shape}, {_expected(expected)}{remedy}")


def _shape_remedy(shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    channels, height, width = expected
    if shape == expected:
        return "; for a single input pass x[None]"
    if shape[1:] == (height, width, channels):
        return "; channels come first: pass x.transpose(0, 3, 1, 2) or x.permute(0, 3, 1, 2)"
    if shape == (height, width, channels):
        return "; channels come first, after the batch: pass x.transpose(2, 0, 1)[None] or x.permute(2, 0, 1)[None]"
    if channels == 1 and shape[1:] == (height, width):
        return "; grey images have one channel: pass x[:, None]"
    if len(shape) == 4 and shape[2:] == (height, width) and (shape[1], channels) == (1, 3):
        return "; the model takes colour: repeat the grey channel, x.repeat(3, axis=1) or x.repeat(1, 3, 1, 1)"
    if len(shape) == 4 and shape[2:] == (height, width) and (shape[1], channels) == (4, 3):
        return "; drop the transparency: pass x[:, :3]"
    if len(shape) == 4 and shape[1] == channels:
        return f"; resize the images to {height} by {width}"
    return ""


def _grey_levels(bounds: Bounds) -> str:
    """How grey levels from 0 to 255 become pixels within the bounds."""
    low, high = bounds
    if (low, high) == (0, 255):
        return "x"
    factor = 255 / (high - low)
    return f"x / {factor:g}" + (f" - {-low:g}" if low < 0 else f" + {low:g}" if low > 0 else "")


def _check_range(least: float, largest: float, bounds: Bounds) -> None:
    low, high = bounds
    slack = 1e-5 * (high - low)
    if least >= low - slack and largest <= high + slack:
        return
    remedy = (
        "Scale the inputs as at calibration; preprocessing such as mean and standard deviation belongs inside the model"
    )
    if least >= 0 and 16 < largest <= 255:
        remedy = f"They look like bytes 0-255: pass {_grey_levels(bounds)}"
    elif low >= 0 and -1 <= least < 0 and largest <= 1:
        whole = "" if high == 1 else f" * {high:g}"
        remedy = f"They look scaled to [-1, 1]: pass (x + 1) / 2{whole}. {_INSIDE}"
    elif least < low and max(-least, largest) < 16:
        remedy = f"They look normalised. {_INSIDE}"
    raise InputError(f"pixels range from {least:g} to {largest:g}, outside the bounds [{low:g}, {high:g}]. {remedy}")


def _is_dark(least: float, largest: float, bounds: Bounds) -> bool:
    """Whether the pixels are near the lower bound throughout, and yet not plain black."""
    low, high = bounds
    return low <= least < largest <= low + _DARK * (high - low)


def _dark(least: float, largest: float, bounds: Bounds) -> str:
    low, high = bounds
    return (
        f"pixels range from {least:g} to {largest:g}, hardly above the lower bound of [{low:g}, {high:g}]. They look "
        f"divided by 255 once too often: pass x * 255"
    )


def found_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of images ``(n, channels, height, width)``.

    Raises:
        InputError: channels come last.
    """
    _, channels, height, width = shape
    if width in {1, 3, 4} and channels not in {1, 3, 4}:
        raise InputError(
            f"got images of shape {shape}, whose channels seem to come last; pass x.transpose(0, 3, 1, 2) or "
            "x.permute(0, 3, 1, 2), or name input_shape=(channels, height, width) if they do not"
        )
    return channels, height, width


def found_bounds(x: Pixels) -> Bounds:
    """Guess the bounds from clean images: [0, 1] or [0, 255].

    Raises:
        InputError: the pixels fit neither.
    """
    extremes = [(part.min(), part.max()) for part in chunks(x, _IMAGES)]
    least, largest = float(np.min(extremes)), float(np.max(extremes))
    if not (np.isfinite(least) and np.isfinite(largest)):
        raise InputError("NaN or infinite pixels among the images; remove those images before calibration")
    if least >= 0 and largest <= 1:
        return 0.0, 1.0
    if least >= 0 and 16 < largest <= 255:
        return 0.0, 255.0
    raise InputError(
        f"pixels range from {least:g} to {largest:g}, which tells no bounds. Name them: "
        f"DetectedModel(model, bounds=(low, high)). {_INSIDE}, with pixels in [0, 1]"
    )
