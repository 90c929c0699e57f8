"""Inputs and maps as PNG pictures, made from pixels: what somebody uploaded is never sent back as it came."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ce_detect.core.types import Bounds, Floats

SIDE = 224
"""Longer side, in pixels, to which small pictures are enlarged."""

MOST = 448
"""Longer side, in pixels, to which large ones are reduced."""

_SHADES = np.array([[0, 34, 78], [60, 77, 110], [124, 123, 120], [187, 173, 108], [254, 232, 56]], np.float32) / 255
"""Five shades of Matplotlib's map cividis, which people who see fewer colours can read, too."""


def unit(x: NDArray[Any], bounds: Bounds | None) -> Floats:
    """An input as the quarantine keeps it, as pixels ``(channels, height, width)`` in [0, 1].

    Args:
        x: uint8 ``(height, width, channels)``, or floats ``(channels, height, width)``.
        bounds: smallest and largest pixel value of floats; None to guess: 0 to 1, 0 to 255, or what there is.
    """
    if x.dtype == np.uint8:
        levels: Floats = np.divide(x.transpose(2, 0, 1), 255, dtype=np.float32)
        return levels
    values = np.nan_to_num(np.asarray(x, np.float32), posinf=0, neginf=0)
    low, high = _guessed(values) if bounds is None else bounds
    found: Floats = ((values - np.float32(low)) / np.float32(high - low)).clip(0, 1)
    return found


def png(pixels: Floats) -> bytes:
    """A picture of channels ``(channels, height, width)`` in [0, 1]: three as colour, others by their mean."""
    planes = pixels if len(pixels) == 3 else np.repeat(pixels.mean(axis=0, keepdims=True), 3, axis=0)
    return _encoded(planes.transpose(1, 2, 0))


def lossless(pixels: Floats) -> bytes:
    """The same in its own size, for a dataset; channels ``(1 or 3, height, width)``, others by their mean."""
    levels = np.rint((pixels if len(pixels) in (1, 3) else pixels.mean(axis=0, keepdims=True)) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def with_map(pixels: Floats, values: Floats) -> bytes:
    """A map ``(height, width)`` over its picture in grey: dark blue is the least, yellow the most."""
    reach = float(values.max() - values.min())
    share = (values - values.min()) / reach if reach > 0 else np.zeros_like(values)
    places = np.linspace(0, 1, len(_SHADES))
    shades = np.stack([np.interp(share, places, _SHADES[:, colour]) for colour in range(3)], axis=-1)
    grey = np.repeat(pixels.mean(axis=0)[..., None], 3, axis=2)
    return _encoded(0.35 * grey + 0.65 * shades)


def as_jpeg(pixels: Floats, quality: int) -> Floats:
    """Pixels ``(1 or 3, height, width)`` in [0, 1] after they were saved as JPEG and read again."""
    levels = np.rint(pixels * 255).astype(np.uint8)
    image = Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as read:
        found = np.asarray(read)
    return unit(found[..., None] if found.ndim == 2 else found, None)


def _guessed(values: Floats) -> Bounds:
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        return (low, high) if high > low else (low, low + 1)
    return (0.0, 1.0) if high <= 1 else (0.0, 255.0)


def _encoded(shares: NDArray[np.floating]) -> bytes:
    image = Image.fromarray(np.rint(shares.clip(0, 1) * 255).astype(np.uint8))
    times = max(1, SIDE // max(image.size))
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((MOST, MOST))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
