"""Benign change: what each corruption does, and that it does the same whatever else is in the batch."""

from __future__ import annotations

import colorsys
import io
import statistics

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images
from ce_detect.data.corruptions import KINDS, MILD, Corruption, mixture

Floats = NDArray[np.float32]
UNIT = (0.0, 1.0)
LEVEL = 0.51 / 255
"""Half a level of an 8-bit file."""


def corrupted(kind: str, x: Floats, severity: int = 1, bounds: tuple[float, float] = UNIT, seed: int = 0) -> Floats:
    """Images under one corruption."""
    return Corruption(kind, severity)(x, bounds=bounds, seed=seed)


def flat(value: float, *shape: int) -> Floats:
    """One image of one value."""
    return np.full((1, *shape), value, dtype=np.float32)


@pytest.fixture
def grey(demo_images: Images) -> Floats:
    """Some grey photographs."""
    return demo_images.x[:24]


@pytest.fixture
def colour(grey: Floats) -> Floats:
    """Colour images: three photographs as the channels of one."""
    return grey.reshape(8, 3, 28, 28)


@pytest.mark.parametrize("corruption", MILD, ids=lambda c: c.name)
def test_images_stay_images(corruption: Corruption, grey: Floats, colour: Floats) -> None:
    """Shape, type and bounds stay, the pictures change but little, and the values are those of an 8-bit file."""
    for x, (low, high) in ((grey, UNIT), (colour, (0.0, 255.0)), (grey.reshape(12, 2, 28, 28), (-1.0, 1.0))):
        scaled = (low + (high - low) * x).astype(np.float32)
        out = corruption(scaled, bounds=(low, high), seed=3)
        assert (out.shape, out.dtype) == (scaled.shape, np.float32)
        assert low <= out.min() <= out.max() <= high
        levels = (out - low) / (high - low) * 255
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
        assert 0 < np.abs(out - scaled).mean() / (high - low) < 0.15


@pytest.mark.parametrize("corruption", MILD, ids=lambda c: c.name)
def test_an_image_is_changed_alike_in_any_company(corruption: Corruption, colour: Floats) -> None:
    """The outcome depends on the seed and the image alone."""
    whole = corruption(colour, bounds=UNIT, seed=1)
    np.testing.assert_array_equal(corruption(colour[::-1].copy(), bounds=UNIT, seed=1), whole[::-1])
    np.testing.assert_array_equal(corruption(colour[2:3], bounds=UNIT, seed=1), whole[2:3])
    drawn = corruption.kind in {"gaussian-noise", "shot-noise", "rotation"}
    assert (corruption(colour, bounds=UNIT, seed=2) != whole).any() == drawn


@pytest.mark.parametrize("kind", KINDS)
def test_severity_two_changes_more(kind: str, colour: Floats) -> None:
    """So it is for every kind."""
    mild, stronger = (np.abs(corrupted(kind, colour, severity) - colour).mean() for severity in (1, 2))
    assert mild < stronger


@pytest.mark.parametrize("kind", ["gaussian-noise", "shot-noise", "brightness", "contrast"])
def test_large_images_change_more(kind: str, colour: Floats) -> None:
    """Beyond 64 pixels a side the constants are those of ImageNet-C."""
    large = colour.repeat(3, axis=2).repeat(3, axis=3)
    small_change, large_change = (np.abs(corrupted(kind, x) - x).mean() for x in (colour, large))
    assert large_change > 1.5 * small_change


def test_noise_has_its_variance() -> None:
    """Gaussian noise has a standard deviation of 0.04; photons scatter by the root of their number."""
    x = flat(0.5, 1, 64, 64)
    assert corrupted("gaussian-noise", x).std() == pytest.approx(0.04, rel=0.05)
    assert corrupted("shot-noise", x).std() == pytest.approx(np.sqrt(0.5 / 500), rel=0.05)
    assert corrupted("shot-noise", 0 * x).max() == 0


def test_contrast_and_brightness_by_hand() -> None:
    """Contrast shrinks each channel towards its mean; brightness adds to the value of HSV, and makes black grey."""
    x = np.array([0.2, 0.4, 0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0], np.float32).reshape(1, 3, 2, 2)
    mean = x.mean((2, 3), keepdims=True)
    np.testing.assert_allclose(corrupted("contrast", x), mean + 0.75 * (x - mean), atol=LEVEL)
    brighter = corrupted("brightness", x, 2)
    for i, j in np.ndindex(2, 2):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[0, :, i, j])
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.1, 1))
        np.testing.assert_allclose(brighter[0, :, i, j], expected, atol=LEVEL)
    np.testing.assert_allclose(corrupted("brightness", flat(0.0, 1, 2, 2)), 0.05, atol=LEVEL)


def test_blur_makes_an_edge_as_soft_as_its_width() -> None:
    """Across an edge brightness rises as the Gaussian distribution does, in both directions and in no other channel."""
    edge = (np.arange(65) > 32).astype(np.float32)
    x = np.stack([np.tile(edge, (65, 1)), np.tile(edge[:, None], (1, 65)), np.zeros((65, 65))])[None]
    out = corrupted("gaussian-blur", x.astype(np.float32), 2)[0]
    rise = [statistics.NormalDist(32.5, 2).cdf(column) for column in range(65)]
    np.testing.assert_allclose(out[0], np.tile(rise, (65, 1)), atol=0.005)
    np.testing.assert_array_equal(out[1], out[0].T)
    assert out[2].max() == 0


def test_jpeg_is_that_of_pillow(colour: Floats, grey: Floats) -> None:
    """A colour image goes through one file of quality 80, a grey one through a grey file."""
    for x, pixels in ((colour[:1], colour[0].transpose(1, 2, 0)), (grey[:1], grey[0, 0])):
        file = io.BytesIO()
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(file, "JPEG", quality=80)
        decoded = np.asarray(Image.open(file), np.float32) / 255
        decoded = decoded.transpose(2, 0, 1) if decoded.ndim == 3 else decoded[None]
        np.testing.assert_allclose(corrupted("jpeg", x)[0], decoded, atol=1e-6)


def test_rotation_turns_by_its_angle() -> None:
    """A spot to the right of the centre moves by three degrees, up in some images and down in others."""
    rows, columns = np.mgrid[:63, :63]
    angles = set()
    for shade in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        spot = shade * np.exp(-((rows - 31) ** 2 + (columns - 51) ** 2) / 18)
        out = corrupted("rotation", spot[None, None].astype(np.float32))[0, 0]
        down, right = ((out * offset).sum() / out.sum() for offset in (rows - 31, columns - 31))
        angles.add(round(float(np.degrees(np.arctan2(down, right)))))
    assert angles == {-3, 3}


def test_mixture_shows_each_image_once(colour: Floats) -> None:
    """With the share as asked, images appear plain or under one corruption, whatever else is in the batch."""
    x = np.concatenate([colour, colour[:, ::-1], colour[:, :, ::-1], colour[..., ::-1]])
    two = (Corruption("brightness", 2), Corruption("contrast"))
    mixed = mixture(x, two, share=0.5, bounds=UNIT, seed=0)
    kinds = [x, *(corruption(x, bounds=UNIT, seed=0) for corruption in two)]
    is_of = np.array([(mixed == variant).all((1, 2, 3)) for variant in kinds])
    assert (is_of.sum(0) == 1).all()
    assert is_of.any(1).all()
    np.testing.assert_array_equal(mixture(x[5:9], two, share=0.5, bounds=UNIT, seed=0), mixed[5:9])
    np.testing.assert_array_equal(mixture(x, two, share=0.0, bounds=UNIT, seed=0), x)
    assert (mixture(x, two, share=1.0, bounds=UNIT, seed=0) != x).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("kind", "severity", "message"),
    [
        ("fog", 1, "no corruption 'fog'; there are: gaussian-noise, "),
        ("jpeg", 3, "severity = 3 of corruption 'jpeg' is not 1 or 2"),
        ("jpeg", True, "severity = True"),
        ("jpeg", "mild", "severity = 'mild'"),
    ],
)
def test_mistakes_are_named(kind: str, severity: int, message: str) -> None:
    """A corruption that does not exist, or that is not benign, is refused."""
    with pytest.raises(CalibrationError, match=message):
        Corruption(kind, severity)
