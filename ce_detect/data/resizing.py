"""Images resized and cropped, as a `Resizing` says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.core.extras import module
from ce_detect.core.resizing import Resizing


def resized(image: NDArray[np.uint8], resizing: Resizing, name: str) -> NDArray[np.uint8]:
    """Resize and crop one image.

    Args:
        image: ``(height, width, channels)``, of 1 or 3 channels.
        resizing: what is asked for.
        name: what errors call it.

    Raises:
        InputError: the crop is larger than the image.
        MissingExtraError: Pillow is not installed.
    """
    height, width = image.shape[:2]
    size = resizing.resized(height, width)
    if size != (height, width):
        image = _with_pillow(image, size, resizing.interpolation)
    if resizing.cut is None:
        return image
    tall, wide = resizing.cut
    top, left = resizing.corner(*size)
    if min(top, left) < 0:
        raise InputError(
            f"{name} is {width}x{height} pixels, too small for a crop of {wide}x{tall}; give a resize, too"
        )
    return np.ascontiguousarray(image[top : top + tall, left : left + wide])


def waves(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """A smooth image ``(height, width, channels)``, other in every place and channel, to compare two resizes on."""
    y, x, c = np.ogrid[:height, :width, :channels]
    mixed: NDArray[np.float64] = np.sin(y / 23 + c) + np.cos(x / (19 + 3 * c)) + np.sin((x + y) / 37)
    return np.rint(127.5 + 42 * mixed).astype(np.uint8)


def _with_pillow(image: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    pillow: Any = module("PIL.Image", "Resizing images")
    if image.shape[2] == 4:  # Pillow would take the last channel for transparency, and weigh the others by it
        return np.concatenate([_with_pillow(part, size, interpolation) for part in np.split(image, 4, axis=2)], axis=2)
    grey = image.shape[2] == 1
    drawn = pillow.fromarray(image[:, :, 0] if grey else image)
    pixels = np.asarray(drawn.resize(size[::-1], pillow.Resampling[interpolation.upper()]))
    return pixels[:, :, None] if grey else pixels
