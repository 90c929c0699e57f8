"""Blur and sharpening, by what becomes of points and edges."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from support.corrupted import LEVEL, corrupted, grey

from ce_detect.data.corruptions import optics

POINT = np.pad(np.ones((1, 1, 1), np.float32), ((0, 0), (15, 15), (15, 15)))
NO_DRAWS = np.random.default_rng(0)


def test_blur_makes_an_edge_as_soft_as_its_width() -> None:
    """Across an edge brightness rises as the Gaussian distribution does, in both directions and in no other channel."""
    edge = (np.arange(65) > 32).astype(np.float32)
    x = np.stack([np.tile(edge, (65, 1)), np.tile(edge[:, None], (1, 65)), np.zeros((65, 65))])[None]
    out = corrupted("gaussian-blur", x.astype(np.float32), 2)[0]
    rise = [statistics.NormalDist(32.5, 2).cdf(column) for column in range(65)]
    np.testing.assert_allclose(out[0], np.tile(rise, (65, 1)), atol=0.005)
    np.testing.assert_array_equal(out[1], out[0].T)
    assert out[2].max() == 0


@pytest.mark.parametrize("radius", [0.8, 1.5, 2.5])
def test_a_point_out_of_focus_is_a_disk(radius: float) -> None:
    """As bright in all, even inside, nothing outside, the same on every side."""
    out = optics.defocus(POINT, radius, NO_DRAWS)[0]
    y, x = np.mgrid[-15:16, -15:16]
    distance = np.hypot(y, x)
    assert out.sum() == pytest.approx(1, abs=1e-5)
    assert out[distance >= radius + 0.5].max() < 1e-7
    assert np.ptp(out[distance <= radius - 0.5]) < 1e-6
    np.testing.assert_allclose(out, out.T, atol=1e-7)
    np.testing.assert_allclose(out, out[::-1, ::-1], atol=1e-7)
    assert out.max() < 0.9


@pytest.mark.parametrize("length", [4.0, 8.0])
def test_a_point_in_motion_is_a_line(length: float) -> None:
    """Of that length, in another direction each time, and thin."""
    y, x = np.mgrid[-15:16, -15:16]
    angles = []
    for seed in range(8):
        out = optics.motion(POINT, length, np.random.default_rng(seed))[0]
        assert out.sum() == pytest.approx(1, abs=1e-5)
        spread = np.array([[(out * y * y).sum(), (out * y * x).sum()], [(out * y * x).sum(), (out * x * x).sum()]])
        across, along = np.linalg.eigvalsh(spread)
        assert np.sqrt(12 * along) == pytest.approx(length, rel=0.2)
        assert across < 0.5
        angles.append(np.arctan2(2 * spread[0, 1], spread[1, 1] - spread[0, 0]))
    assert np.std(angles) > 0.5


@pytest.mark.parametrize("kind", ["gaussian-blur", "defocus", "motion-blur"])
def test_blurred_images_are_as_bright(kind: str) -> None:
    """Light is moved, not made; details are fewer."""
    out = corrupted(kind, grey(), 2)
    np.testing.assert_allclose(out.mean((2, 3)), grey().mean((2, 3)), atol=0.01)
    assert np.abs(np.diff(out)).mean() < 0.95 * np.abs(np.diff(grey())).mean()


@pytest.mark.parametrize(("severity", "amount"), [(1, 0.4), (2, 0.8)])
def test_sharpening_raises_what_a_blur_takes(severity: int, amount: float) -> None:
    """An unsharp mask: the image and a share of its details."""
    blurred = optics.gaussian(grey(1)[0], 1.0, NO_DRAWS)
    expected = (grey(1)[0] + amount * (grey(1)[0] - blurred)).clip(0, 1)
    np.testing.assert_allclose(corrupted("sharpening", grey(1), severity)[0], expected, atol=LEVEL)


@pytest.mark.parametrize(("severity", "left"), [(1, 0.4), (2, 0.0)])
def test_the_median_takes_points_away(severity: int, left: float) -> None:
    """And leaves edges where they are."""
    np.testing.assert_allclose(corrupted("median", POINT[None], severity)[0], left * POINT, atol=LEVEL)
    edge = np.tile((np.arange(31) > 15).astype(np.float32), (1, 1, 31, 1))
    np.testing.assert_allclose(corrupted("median", edge, severity), edge, atol=LEVEL)
