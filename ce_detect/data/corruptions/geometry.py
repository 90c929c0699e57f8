"""What scalers, croppers and hands do to where things are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Floats
from ce_detect.data.corruptions.pictures import as_picture, ndimage, pillow


def shrink(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Scaled down to this share of the sides and back, by one of two filters."""
    return _scaled(pixels, share, ("BILINEAR", "BOX")[generator.integers(2)])


def shrink_sharply(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """The same by one of two filters that keep edges."""
    return _scaled(pixels, share, ("LANCZOS", "BICUBIC")[generator.integers(2)])


def enlarge(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Scaled up to this multiple of the sides and back, by one of three filters."""
    return _scaled(pixels, share, ("BILINEAR", "BICUBIC", "LANCZOS")[generator.integers(3)])


def crop(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """A part with this share of the sides, somewhere, scaled to the whole."""
    height, width = pixels.shape[1:]
    top, left = generator.random(2) * (1 - share) * (height, width)
    box = (left, top, left + share * width, top + share * height)
    bilinear = pillow("Image").Resampling.BILINEAR
    return as_picture(pixels, lambda drawn: drawn.resize((width, height), bilinear, box=box))


def shift(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Moved by this share of the sides, a pixel at least, to somewhere; edges are repeated."""
    directions = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    steps = [max(1, round(share * side)) for side in pixels.shape[1:]]
    moves = np.multiply(steps, directions[generator.integers(len(directions))])
    return np.asarray(ndimage().shift(pixels, (0, *moves), order=0, mode="nearest"))


def flip(pixels: Floats, strength: float, generator: np.random.Generator) -> NDArray[Any]:
    """Left and right exchanged."""
    return pixels[:, :, ::-1]


def rotation(pixels: Floats, degrees: float, generator: np.random.Generator) -> NDArray[Any]:
    """Turned to a side drawn at random; edges are repeated."""
    turned = degrees * generator.choice([-1, 1])
    return np.asarray(ndimage().rotate(pixels, turned, axes=(2, 1), reshape=False, order=1, mode="nearest"))


def perspective(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Seen from another place: each corner is taken from further in, by up to this share of the sides."""
    height, width = pixels.shape[1:]
    inward = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])  # from top left, counterclockwise, as Pillow asks for
    corners = np.array([[0, 0], [0, height], [width, height], [width, 0]])
    quad = corners + inward * generator.random((4, 2)) * share * (width, height)
    image = pillow("Image")
    return as_picture(
        pixels,
        lambda drawn: drawn.transform(drawn.size, image.Transform.QUAD, tuple(quad.ravel()), image.Resampling.BILINEAR),
    )


def _scaled(pixels: Floats, share: float, name: str) -> NDArray[Any]:
    height, width = pixels.shape[1:]
    other = tuple(max(1, round(share * side)) for side in (width, height))
    taken = pillow("Image").Resampling[name]
    return as_picture(pixels, lambda drawn: drawn.resize(other, taken).resize((width, height), taken))
