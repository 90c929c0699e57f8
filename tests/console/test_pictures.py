"""Inputs as pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ce_detect.console import pictures
from ce_detect.core.types import Floats


def read(content: bytes) -> Floats:
    """The pixels of a picture in [0, 1]."""
    return np.asarray(Image.open(io.BytesIO(content)), np.float32) / 255


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
def test_pixels_of_any_bounds(bounds: tuple[float, float]) -> None:
    """Told or guessed, they come to [0, 1]."""
    low, high = bounds
    x = np.linspace(low, high, 12, dtype=np.float32).reshape(1, 3, 4)
    expected = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    np.testing.assert_allclose(pictures.unit(x, bounds), expected, atol=1e-6)
    np.testing.assert_allclose(pictures.unit(x, None), expected, atol=1e-6)


def test_pixels_that_are_odd() -> None:
    """Equal ones, and such as are no numbers, make a picture as well."""
    for value in (0.0, np.nan, -3.0, np.inf):
        found = pictures.unit(np.full((3, 2, 2), value, np.float32), None)
        assert np.isfinite(found).all()
        assert read(pictures.png(found)).shape == (224, 224, 3)
    levels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_allclose(pictures.unit(levels, None), levels.transpose(2, 0, 1) / 255, atol=1e-6)


def test_sizes() -> None:
    """Small ones are enlarged by whole factors, large ones reduced; a dataset keeps theirs."""
    assert read(pictures.png(np.zeros((1, 28, 28), np.float32))).shape == (224, 224, 3)
    assert read(pictures.png(np.zeros((3, 600, 900), np.float32))).shape == (299, 448, 3)
    assert read(pictures.lossless(np.zeros((4, 6, 9), np.float32))).shape == (6, 9)
    x = np.random.default_rng(0).integers(0, 256, (3, 6, 9)).astype(np.float32) / 255
    np.testing.assert_allclose(read(pictures.lossless(x)).transpose(2, 0, 1), x, atol=1e-6)


def test_a_map_shows_where() -> None:
    """The most is yellow, the least is blue; a flat map is one shade."""
    values = np.zeros((28, 28), np.float32)
    values[3, 4] = 1
    found = read(pictures.with_map(np.full((3, 28, 28), 0.5, np.float32), values))[::8, ::8]
    red, green, blue = np.moveaxis(found, -1, 0)
    assert np.unravel_index(np.argmax(red - blue), red.shape) == (3, 4)
    assert (blue > red)[values == 0].all()
    flat = read(pictures.with_map(np.full((1, 8, 8), 0.5, np.float32), np.ones((8, 8), np.float32)))
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1
    assert green.min() > 0


def test_jpeg_is_lossy_in_its_size() -> None:
    """A lower quality loses more; grey stays grey."""
    x = np.random.default_rng(0).random((3, 24, 32), np.float32)
    lost = [float(np.abs(pictures.as_jpeg(x, quality) - x).mean()) for quality in (10, 60, 100)]
    assert lost[0] > lost[1] > lost[2] > 0
    assert pictures.as_jpeg(x[:1], 80).shape == (1, 24, 32)
