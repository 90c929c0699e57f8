"""What lies on a lens, is written into an image, or comes of a screen."""

from __future__ import annotations

import numpy as np
from support.corrupted import colour, corrupted, flat, photographs


def test_dust_darkens_a_few_places() -> None:
    """Three soft spots that take two fifths of the light each, and nothing elsewhere; elsewhere in each image."""
    x = np.concatenate([flat(shade, 3, 64, 64) for shade in (0.6, 0.7, 0.8, 0.9, 1.0)])
    for severity in (1, 2):
        kept = corrupted("dust", x, severity) / x
        assert kept.max() < 1.005
        assert 0.6**3 - 0.01 < kept.min() < 0.7
        assert (kept > 0.99).mean() > 0.5
        np.testing.assert_allclose(kept[:, 0], kept[:, 1], atol=0.01)
        assert len({int(image[0].argmin()) for image in kept}) > 3


def test_text_is_bright_and_in_a_corner() -> None:
    """Other digits and another corner in each image; most of the image is as it was."""
    x = np.concatenate([flat(shade, 3, 96, 80) for shade in np.linspace(0.1, 0.3, 12)])
    out = corrupted("text", x, 2)
    moved = np.abs(out - x).max(1) > 0.01
    corners = set()
    for image in moved:
        rows, columns = np.nonzero(image)
        assert 5 < len(rows) < 300
        assert np.ptp(rows) < 12
        corners.add((rows.mean() > 48, columns.mean() > 40))
    assert (out >= x - 0.005).all()
    assert out[:, 0].max() > 0.9
    assert len(corners) == 4
    assert out[:, 0][moved].max() >= out[:, 1][moved].max() > out[:, 2][moved].max()  # yellow


def test_text_fits_small_images() -> None:
    """Also those of a few pixels, grey or in colour."""
    for x in (colour(6)[:, :, :12, :12], colour(6)[:, :1]):
        assert (np.abs(corrupted("text", x) - x).max((1, 2, 3)) > 0).all()


def test_a_screen_shows_lines() -> None:
    """A faint pattern that one colour has not, stronger at severity 2; other lines in each image."""
    x = np.concatenate([flat(shade, 3, 96, 80) for shade in (0.6, 0.65, 0.7, 0.75, 0.8)])
    weak, strong = (corrupted("screen", x, severity)[:, 0, 8:-8, 8:-8] for severity in (1, 2))
    assert (strong.std((1, 2)) > 0.01).all()
    assert 0.004 < weak.std((1, 2)).mean() < 0.7 * strong.std((1, 2)).mean()
    np.testing.assert_allclose(strong.mean((1, 2)), x[:, 0, 0, 0], atol=0.02)
    peaks = {int(np.abs(np.fft.rfft2(image - image.mean())).argmax()) for image in strong}
    assert len(peaks) == len(x)
    assert np.abs(corrupted("screen", photographs(1), 1) - photographs(1)).max() > 0.02
