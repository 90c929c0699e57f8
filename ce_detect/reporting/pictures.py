"""Inputs and maps as pictures for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ce_detect.core import extras
from ce_detect.core.types import Floats
from ce_detect.reporting.drawing import PURPOSE

SIDE = 224
"""Longer side, in pixels, to which small pictures are enlarged."""

MOST = 448
"""Longer side, in pixels, to which large ones are reduced: a page with many of them stays small."""


def plain(pixels: Floats) -> str:
    """A picture of channels ``(channels, height, width)`` in [0, 1]: three as colour, others by their mean."""
    return _address(_colours(pixels))


def of_file(image: NDArray[np.uint8]) -> Floats:
    """An image ``(height, width, channels)`` as channels in [0, 1], reduced as a page shows it."""
    pillow = extras.module("PIL.Image", PURPOSE, extra="report")
    drawn = pillow.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    drawn.thumbnail((MOST, MOST))
    pixels: Floats = np.divide(np.asarray(drawn), 255, dtype=np.float32)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def difference(change: Floats) -> str:
    """A change of channels ``(channels, height, width)``: no change is grey, the largest one is black or white."""
    return plain(np.asarray(0.5 + change * strength(change) / 2, np.float32))


def strength(change: Floats) -> float:
    """How many times as strong `difference` shows a change, relative to a half of the pixel range; 1 where none is."""
    largest = float(np.abs(change).max())
    return 1 / largest if largest > 0 else 1.0


def with_map(pixels: Floats, values: Floats) -> str:
    """A map ``(height, width)`` over its picture in grey: dark blue is the least, yellow the most.

    A smaller map, such as that of a layer, is enlarged smoothly. Where a map is NaN the picture stays as it is.
    """
    return _address(_overlaid(pixels, values))


def sheet(rows: Sequence[tuple[Floats, Floats, Floats]]) -> bytes:
    """One PNG with a row an image.

    Args:
        rows: an image, another one, and a map that is laid over the first; see `plain` and `with_map`.
    """
    columns = [np.hstack([_colours(one), _colours(other), _overlaid(one, values)]) for one, other, values in rows]
    return _png(np.vstack(columns), reduced=False)


def _colours(pixels: Floats) -> NDArray[np.floating]:
    planes = pixels if len(pixels) == 3 else np.repeat(pixels.mean(axis=0, keepdims=True), 3, axis=0)
    return planes.transpose(1, 2, 0)


def _overlaid(pixels: Floats, values: Floats) -> NDArray[np.floating]:
    with extras.needed_for(PURPOSE):
        from matplotlib import colormaps

    if values.shape != pixels.shape[1:]:
        pillow = extras.module("PIL.Image", PURPOSE, extra="report")
        small = pillow.fromarray(values)
        values = np.asarray(small.resize(pixels.shape[:0:-1], pillow.Resampling.BILINEAR))
    least, reach = float(np.nanmin(values)), float(np.nanmax(values) - np.nanmin(values))
    unit = (values - least) / reach if reach > 0 else values - least
    grey = np.repeat(pixels.mean(axis=0)[..., None], 3, axis=2)
    overlaid: NDArray[np.floating] = 0.35 * grey + 0.65 * colormaps["cividis"](unit)[..., :3]
    return np.where(np.isnan(values)[..., None], grey, overlaid)


def _address(shares: NDArray[np.floating]) -> str:
    """A picture ``(height, width, 3)`` in [0, 1] as an address that holds all of it."""
    return "data:image/png;base64," + base64.b64encode(_png(shares)).decode()


def _png(shares: NDArray[np.floating], *, reduced: bool = True) -> bytes:
    """The content of a PNG file; a large picture is reduced, if that is asked for."""
    levels = np.round(shares.clip(0, 1) * 255).astype(np.uint8)
    pillow = extras.module("PIL.Image", PURPOSE, extra="report")
    image = pillow.fromarray(levels)
    times = max(1, SIDE // max(image.size))
    image = image.resize((image.width * times, image.height * times), pillow.Resampling.NEAREST)
    if reduced:
        image.thumbnail((MOST, MOST))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
