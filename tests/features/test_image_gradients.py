"""ImageGradients of real pictures: perturbations raise it, and its values are what the formulas say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ce_detect.data import load_data
from ce_detect.features.image_gradients import FLOOR, ImageGradients


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Real grey images."""
    return torch.from_numpy(load_data("demo", limit=32).x)


def coloured(pictures: torch.Tensor) -> torch.Tensor:
    """The same in three channels of different strength."""
    return torch.cat([pictures, pictures * 0.7, pictures * 0.4], dim=1)


def test_a_ramp_has_the_differences_it_was_made_of() -> None:
    """A horizontal ramp of slope 0.01: first difference along x is 0.01, all others are 0."""
    ramp = (torch.arange(28) * 0.01).expand(1, 1, 28, 28)
    made = ImageGradients(1, (0.0, 1.0))
    found = dict(zip(made.names, made(ramp)[0].tolist(), strict=True))
    for order, value in (("mean", 0.01), ("rms", 0.01), ("root", 0.1)):
        assert found[f"trace.image-gradients[grey][dx][{order}]"] == pytest.approx(np.log(value + FLOOR), abs=0.01)
    assert found["trace.image-gradients[grey][dy][mean]"] == pytest.approx(np.log(FLOOR), abs=0.01)
    assert found["trace.image-gradients[grey][dxx][mean]"] == pytest.approx(np.log(FLOOR), abs=0.1)


def test_a_picture_without_colour_has_no_rough_colours(pictures: torch.Tensor) -> None:
    """Three equal planes: what a convolution makes of their difference is rounding, and counts as nothing."""
    made = ImageGradients(3, (0.0, 1.0))
    colour = [position for position, name in enumerate(made.names) if "[colour]" in name]
    found = made(pictures.expand(-1, 3, -1, -1))[:, colour]
    torch.testing.assert_close(found, made(torch.zeros(1, 3, 28, 28))[:, colour].expand_as(found), rtol=0, atol=0)


def test_noise_of_eight_levels_makes_pictures_rougher(pictures: torch.Tensor) -> None:
    """Random signs of 8/255, as attacks start from, raise every second difference of every picture."""
    x = coloured(pictures).clamp(0.1, 0.9)
    signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = ImageGradients(3, (0.0, 1.0))
    second = [position for position, name in enumerate(made.names) if "[dxx][mean]" in name or "[dyy][mean]" in name]
    change = (made(x + signs * 8 / 255) - made(x))[:, second]
    assert (change > 0).float().mean() > 0.95


def test_bounds_do_not_matter(pictures: torch.Tensor) -> None:
    """The same pictures in grey levels have the same gradients."""
    found, expected = ImageGradients(1, (0.0, 255.0))(pictures * 255), ImageGradients(1, (0.0, 1.0))(pictures)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [3, 8, 28, 64, 100])
def test_any_size_gives_finite_features_with_gradients(side: int) -> None:
    """Also a constant picture, where all differences are zero."""
    made = ImageGradients(3, (0.0, 1.0))
    x = torch.full((2, 3, side, side), 0.5)
    x[0, :, 1, 1] = 0.7
    x.requires_grad_(True)
    features = made(x)
    assert features.shape == (2, len(made.names)) == (2, 30)
    (gradient,) = torch.autograd.grad(features.sum(), x)
    assert torch.isfinite(features).all()
    assert torch.isfinite(gradient).all()
