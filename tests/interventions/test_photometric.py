"""Rounding, medians, blur, contrast and grey do what their names say."""

from __future__ import annotations

import pytest
import torch
from support.interventions import (
    pixels,
)

from ce_detect.interventions import from_spec


@pytest.mark.parametrize(("bits", "bounds"), [(1, (0.0, 1.0)), (4, (0.0, 1.0)), (3, (-1.0, 3.0))])
def test_bit_depth_leaves_so_many_levels(bits: int, bounds: tuple[float, float]) -> None:
    """Pixels are rounded to the nearest of ``2 ** bits`` levels between the bounds, ends included."""
    low, high = bounds
    h = torch.linspace(low, high, 501).view(1, 1, 3, 167)
    out = from_spec({"kind": "BitDepth", "bits": bits, "low": low, "high": high})(h)
    step = (high - low) / (2**bits - 1)
    assert len(torch.unique((out / step).round(decimals=3))) == 2**bits
    assert float((out - h).abs().max()) <= step / 2 + 1e-6
    assert (float(out.min()), float(out.max())) == pytest.approx(bounds)


def test_bit_depth_passes_the_gradient_straight_through() -> None:
    """Rounding has no gradient of its own; the identity's is used, so that adaptive attacks get one."""
    h = pixels().requires_grad_(True)
    (gradient,) = torch.autograd.grad(from_spec({"kind": "BitDepth"})(h).sum(), h)
    assert torch.equal(gradient, torch.ones_like(h))


def test_median_removes_a_single_bad_pixel() -> None:
    """One outlier in a neighbourhood of three by three disappears."""
    h = torch.full((1, 1, 7, 7), 0.5)
    h[0, 0, 3, 3] = h[0, 0, 0, 0] = 1.0
    assert torch.equal(from_spec({"kind": "Median"})(h), torch.full_like(h, 0.5))


def test_blur_keeps_constants_and_spreads_a_point() -> None:
    """The kernel sums to one, is symmetric, and widens with sigma."""
    h = torch.zeros(1, 1, 15, 15)
    h[0, 0, 7, 7] = 1
    narrow, wide = (from_spec({"kind": "Blur", "sigma": sigma})(h)[0, 0] for sigma in (0.7, 1.4))
    assert float(narrow.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(narrow, narrow.T.flip(0))
    assert float(wide[7, 7]) < float(narrow[7, 7]) < 1
    variance = float((narrow.sum(0) * (torch.arange(15) - 7) ** 2).sum())
    assert variance == pytest.approx(0.7**2, rel=0.05)


def test_contrast_scales_about_the_mean() -> None:
    """The mean of each image stays, its standard deviation is multiplied."""
    h = pixels()
    out = from_spec({"kind": "Contrast", "factor": 0.5})(h)
    torch.testing.assert_close(out.mean((1, 2, 3)), h.mean((1, 2, 3)))
    torch.testing.assert_close(out.std((1, 2, 3)), h.std((1, 2, 3)) / 2)


def test_grey_has_equal_channels_of_the_same_mean() -> None:
    """Colour goes, brightness stays."""
    h = pixels()
    out = from_spec({"kind": "Grey"})(h)
    assert torch.equal(out[:, 0], out[:, 2])
    torch.testing.assert_close(out.mean(1), h.mean(1))
