"""Lamps, exposure and colour settings, by hand."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from support.corrupted import LEVEL, colour, corrupted, flat, grey, photographs

from ce_detect.core.types import Floats

PIXELS = np.array([0.2, 0.4, 0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0], np.float32).reshape(1, 3, 2, 2)
WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]


def either(out: Floats, *expected: Floats) -> int:
    """Which of two images one is, to half a level."""
    (found,) = (number for number, image in enumerate(expected) if np.allclose(out, image, atol=LEVEL))
    return found


def brighter(x: Floats, amount: float) -> Floats:
    """Pixels with another value in HSV."""
    made = np.empty_like(x)
    for i, j in np.ndindex(*x.shape[1:]):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[:, i, j])
        made[:, i, j] = colorsys.hsv_to_rgb(hue, saturation, min(max(value + amount, 0), 1))
    return made


@pytest.mark.parametrize(("severity", "amount"), [(1, 0.05), (2, 0.1)])
def test_brightness_keeps_hue_and_saturation(severity: int, amount: float) -> None:
    """The value of HSV goes up in some images and down in others; black becomes grey, or stays."""
    x = np.concatenate([PIXELS, PIXELS[..., ::-1], colour(12)[:, :, 8:10, 8:10]])
    out = corrupted("brightness", x, severity)
    ways = [
        either(after, brighter(before, amount), brighter(before, -amount)) for before, after in zip(x, out, strict=True)
    ]
    assert set(ways) == {0, 1}
    black = [float(corrupted("brightness", flat(0.0, 1, 2, 2), severity, seed=seed).mean()) for seed in range(8)]
    np.testing.assert_allclose(np.unique(black), [0, amount], atol=LEVEL)


@pytest.mark.parametrize(("severity", "factor"), [(1, 0.8), (2, 0.6)])
def test_contrast_shrinks_towards_the_mean(severity: int, factor: float) -> None:
    """Of each channel by itself."""
    mean = PIXELS.mean((2, 3), keepdims=True)
    np.testing.assert_allclose(corrupted("contrast", PIXELS, severity), mean + factor * (PIXELS - mean), atol=LEVEL)


@pytest.mark.parametrize(("severity", "power"), [(1, 1.2), (2, 1.4)])
def test_gamma_is_a_power_or_its_inverse(severity: int, power: float) -> None:
    """Black and white stay; which of the two it is differs between images."""
    ways = {
        either(out, image**power, image ** (1 / power))
        for image, out in zip(grey(), corrupted("gamma", grey(), severity), strict=True)
    }
    assert ways == {0, 1}
    ends = np.concatenate([flat(0.0, 1, 2, 2), flat(1.0, 1, 2, 2)])
    np.testing.assert_array_equal(corrupted("gamma", ends, severity), ends)


@pytest.mark.parametrize(("severity", "amount"), [(1, 0.25), (2, 0.5)])
def test_saturation_moves_colours_towards_grey_or_away(severity: int, amount: float) -> None:
    """Brightness stays where nothing is clipped; which way it is differs between images."""
    x = 0.35 + 0.3 * colour()
    out = corrupted("saturation", x, severity)
    light = (WEIGHTS * x).sum(1, keepdims=True)
    np.testing.assert_allclose((WEIGHTS * out).sum(1, keepdims=True), light, atol=LEVEL)
    ways = {
        either(after, middle + (1 + amount) * (before - middle), middle + (1 - amount) * (before - middle))
        for before, after, middle in zip(x, out, light, strict=True)
    }
    assert ways == {0, 1}


def test_white_balance_multiplies_each_channel() -> None:
    """By another factor, none further from 1 than the severity says."""
    x = 0.4 * photographs(6) + 0.2
    out = corrupted("white-balance", x, 2)
    factors = (x * out).sum((2, 3)) / (x * x).sum((2, 3))
    np.testing.assert_allclose(out, x * factors[:, :, None, None], atol=2 * LEVEL)
    assert 0.06 < np.abs(factors - 1).max() < 0.125
    assert np.abs(factors[:, 0] - factors[:, 1]).min() > 1e-3


def test_without_colour_channels_are_equal() -> None:
    """At severity 2 all colour is gone, at 1 some of it; brightness is as the eye weighs it."""
    light = (WEIGHTS * colour()).sum(1, keepdims=True)
    np.testing.assert_allclose(corrupted("grey", colour(), 2), light.repeat(3, 1), atol=LEVEL)
    np.testing.assert_allclose(corrupted("grey", colour(), 1), light + 0.4 * (colour() - light), atol=LEVEL)


@pytest.mark.parametrize(("severity", "amount"), [(1, 0.2), (2, 0.4)])
def test_a_vignette_darkens_corners(severity: int, amount: float) -> None:
    """By its share; edges by half of that, and the middle not at all."""
    out = corrupted("vignette", flat(1.0, 1, 31, 21), severity)[0, 0]
    np.testing.assert_allclose([out[0, 0], out[-1, 0], out[0, -1], out[-1, -1]], 1 - amount, atol=LEVEL)
    np.testing.assert_allclose([out[0, 10], out[15, 0]], 1 - amount / 2, atol=LEVEL)
    assert out[15, 10] == 1
