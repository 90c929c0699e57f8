"""Between pixels in [0, 1] and images of Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.corrupted import colour, grey

from ce_detect.data.corruptions.pictures import as_bytes, as_picture, blended, luminance


def test_bytes_are_rounded_and_clipped() -> None:
    """What leaves the range is at its end."""
    pixels = np.array([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0, 7.0])
    made = as_bytes(pixels)
    assert made.dtype == np.uint8
    assert made.tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_pictures_are_in_colour_or_grey() -> None:
    """Three channels are one picture in RGB, others one grey picture each; nothing else is changed."""
    seen: list[tuple[str, tuple[int, int]]] = []

    def noted(picture: Any) -> Any:
        seen.append((picture.mode, picture.size))
        return picture

    for x in (colour(1)[0][:, :20], grey(1)[0], grey(2).reshape(2, 28, 28), grey(4).reshape(4, 28, 28)):
        np.testing.assert_allclose(as_picture(x, noted), x, atol=1e-6)
    assert seen == [("RGB", (28, 20))] + 7 * [("L", (28, 28))]


def test_luminance_weighs_colours() -> None:
    """Green most; of other than three channels it is the mean."""
    red, green, blue = (float(luminance(channel[:, None, None]).item()) for channel in np.eye(3, dtype=np.float32))
    np.testing.assert_allclose([red, green, blue], [0.299, 0.587, 0.114], atol=1e-6)
    np.testing.assert_allclose(luminance(grey(2).reshape(2, 28, 28))[0], grey(2).mean((0, 1)), atol=1e-6)
    assert luminance(colour(1)[0]).shape == (1, 28, 28)


def test_blended_images_lie_on_a_line() -> None:
    """0 is the other image, 1 this one, 2 as far beyond."""
    this, other = np.full((1, 1, 1), 0.5, np.float32), np.full((1, 1, 1), 0.3, np.float32)
    np.testing.assert_allclose(
        [blended(this, other, factor).item() for factor in (0, 1, 2)], [0.3, 0.5, 0.7], atol=1e-6
    )
