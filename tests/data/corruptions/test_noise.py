"""What sensors add, by its statistics."""

from __future__ import annotations

import numpy as np
import pytest
from support.corrupted import corrupted, flat, photographs

MIDDLE = flat(128 / 255, 1, 64, 64)
LARGE = flat(128 / 255, 1, 200, 200)


@pytest.mark.parametrize(("severity", "small", "large"), [(1, 0.02, 0.03), (2, 0.04, 0.06)])
def test_gaussian_noise_has_its_deviation(severity: int, small: float, large: float) -> None:
    """More of it on large images, and none on average."""
    assert corrupted("gaussian-noise", MIDDLE, severity).std() == pytest.approx(small, rel=0.05)
    assert corrupted("gaussian-noise", LARGE, severity).std() == pytest.approx(large, rel=0.05)
    assert corrupted("gaussian-noise", LARGE, severity).mean() == pytest.approx(MIDDLE.mean(), abs=0.002)


@pytest.mark.parametrize(("severity", "photons"), [(1, 500), (2, 250)])
def test_photons_scatter_by_the_root_of_their_number(severity: int, photons: float) -> None:
    """So bright places are noisier, and black stays black."""
    for value in (0.25, 0.5):
        out = corrupted("shot-noise", flat(value, 1, 64, 64), severity)
        assert out.std() == pytest.approx(np.sqrt(value / photons), rel=0.06)
    assert corrupted("shot-noise", 0 * MIDDLE, severity).max() == 0


@pytest.mark.parametrize("severity", [1, 2])
def test_uniform_noise_moves_by_whole_levels(severity: int) -> None:
    """Every number of levels up to the severity, in both directions, each as often as the others."""
    moved = np.rint(255 * (corrupted("uniform-noise", MIDDLE, severity) - MIDDLE))
    values, counts = np.unique(moved, return_counts=True)
    assert values.tolist() == list(range(-severity, severity + 1))
    np.testing.assert_allclose(counts / counts.sum(), 1 / len(values), atol=0.03)


@pytest.mark.parametrize(("severity", "share"), [(1, 0.001), (2, 0.003)])
def test_dead_pixels_are_black_or_white_in_every_channel(severity: int, share: float) -> None:
    """So many of them, or one at least; all others stay."""
    x = np.concatenate([flat(128 / 255, 3, 64, 64) + step / 255 for step in range(12)]).astype(np.float32)
    dead = corrupted("dead-pixels", x, severity)
    moved = np.abs(dead - x) > 1e-6
    assert (moved.sum((2, 3)) == round(share * 64 * 64)).all()
    assert (moved == moved[:, :1]).all()
    assert set(np.unique(dead[moved])) == {0.0, 1.0}
    assert (np.abs(corrupted("dead-pixels", x[:, :, :5, :5], severity) - x[:, :, :5, :5]).max(1) > 0).sum() == 12


def test_noise_is_another_in_every_channel() -> None:
    """Sensors have no common noise."""
    x = photographs(1)
    for kind in ("gaussian-noise", "uniform-noise"):
        moved = (corrupted(kind, x, 2) - x)[0].reshape(3, -1)
        assert abs(np.corrcoef(moved)[0, 1]) < 0.1
