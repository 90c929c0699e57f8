"""Between pixels in [0, 1] and the images of Pillow, which stores, scales and filters them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.extras import module
from ce_detect.core.types import Bounds, Floats


def pillow(part: str) -> Any:
    """A module of Pillow, such as ``"Image"``."""
    return module(f"PIL.{part}", "Natural change")


def ndimage() -> Any:
    """SciPy's filters of images."""
    return module("scipy.ndimage", "Natural change")


def as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Round pixels in [0, 1] to what an 8-bit file holds; what leaves the range is clipped."""
    return np.round(pixels.clip(0, 1) * 255).astype(np.uint8)


def stored(pixels: NDArray[Any], bounds: Bounds) -> Floats:
    """What an 8-bit file holds of pixels in [0, 1], scaled to the bounds."""
    low, high = bounds
    scaled = low + (high - low) * as_bytes(pixels).astype(np.float32) / 255
    return np.asarray(scaled, np.float32).clip(low, high)


def as_picture(pixels: Floats, change: Callable[[Any], Any]) -> Floats:
    """Change an image ``(channels, height, width)`` in [0, 1] as Pillow's: in colour, or grey, channel by channel.

    Args:
        pixels: the image.
        change: from an image of Pillow, in mode RGB or L, to one of the same mode and size.
    """
    rounded = as_bytes(pixels)
    if len(pixels) == 3:
        return _changed(rounded.transpose(1, 2, 0), change).transpose(2, 0, 1)
    stacked: Floats = np.stack([_changed(channel, change) for channel in rounded])
    return stacked


def _changed(pixels: NDArray[np.uint8], change: Callable[[Any], Any]) -> Floats:
    drawn = pillow("Image").fromarray(np.ascontiguousarray(pixels))
    return np.asarray(change(drawn), np.float32) / np.float32(255)


def blended(pixels: Floats, other: NDArray[Any], factor: float) -> NDArray[Any]:
    """Move from another image towards this one: 1 keeps it, 0 is the other, above 1 goes beyond."""
    return np.asarray(other + factor * (pixels - other))


def luminance(pixels: Floats) -> Floats:
    """Brightness ``(1, height, width)`` of an image as the eye weighs colours (ITU-R BT.601); else the mean."""
    if len(pixels) != 3:
        return np.asarray(pixels.mean(axis=0, keepdims=True))
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    grey: Floats = np.tensordot(weights, pixels, axes=1)[None]
    return grey
