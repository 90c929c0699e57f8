"""What methods of mask optimisation share: blurs, noise, the descent."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, median_filter

from ce_detect.explain.methods.mask_optimization import Noise, blurred, cells_of, descended


def test_the_blur_is_the_mean_of_two() -> None:
    """A Gaussian of 5 in windows of 11, and a median in such windows, each channel by itself."""
    x = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    plane = x[1, 2].numpy()
    expected = (gaussian_filter(plane, 5.0, mode="nearest", radius=5) + median_filter(plane, 11, mode="nearest")) / 2
    np.testing.assert_allclose(blurred(x)[1, 2], expected, atol=1e-6)


def test_noise_is_relative_to_each_picture_and_the_same_in_a_batch() -> None:
    """So that a row of a batch is explained as it is alone."""
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x[1] /= 10
    noise = Noise(x, 0.2, 0)(x) - x
    torch.testing.assert_close(noise[0] / x[0].std(), noise[1] / x[1].std(), atol=1e-4, rtol=1e-3)
    assert float(noise[0].std() / x[0].std()) == pytest.approx(0.2, rel=0.1)


def test_the_descent_finds_the_minimum_of_each_row_within_bounds() -> None:
    """A quadratic loss with its minimum inside, and one with its minimum beyond 1."""
    wanted = torch.tensor([0.3, 1.7])[:, None, None, None]
    optimizer = partial(torch.optim.Adam, lr=0.1)
    start = torch.zeros(2, 1, 2, 2)
    found = descended(start, lambda mask, _: (mask - wanted).square().sum((1, 2, 3)), steps=100, optimizer=optimizer)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([0.3, 1.0]), atol=1e-2, rtol=0)
    assert float(start.max()) == 0.0


def test_small_pictures_have_masks_of_their_own_size() -> None:
    """28 cells at most."""
    assert cells_of(torch.zeros(1, 1, 16, 224)) == (16, 28)
