"""Controls are as large as an attack, and have nothing of its structure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.corrupted import colour, grey

from ce_detect.attacks import controls
from ce_detect.attacks.controls import Shuffled
from ce_detect.core.types import Bounds, Floats

BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]


def middle(count: int, bounds: Bounds) -> Floats:
    """Colour images on 8-bit levels, far enough from the bounds that nothing of what is added is lost."""
    levels = np.round(255 * (0.25 + 0.5 * colour(count)))
    return (bounds[0] + (bounds[1] - bounds[0]) * levels / 255).astype(np.float32)


def perturbations(count: int, bounds: Bounds, levels: int = 8) -> Floats:
    """Whole numbers of levels, drawn for each pixel and channel."""
    drawn = np.random.default_rng(0).integers(-levels, levels + 1, (count, 3, 28, 28))
    return (drawn * (bounds[1] - bounds[0]) / 255).astype(np.float32)


def in_levels(x: Floats, bounds: Bounds) -> Any:
    """Pixels or differences as 8-bit levels."""
    return x / (bounds[1] - bounds[0]) * 255


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_the_same_pixels_in_another_order(bounds: Bounds) -> None:
    """A pixel's perturbation moves with all its channels, so that each one is still there once."""
    (clean,), (perturbation,) = middle(1, bounds), perturbations(1, bounds)
    made = controls.shuffled(clean, perturbation, bounds=bounds, generator=np.random.default_rng(1))
    before, after = (np.rint(in_levels(x, bounds)).reshape(3, -1).T for x in (perturbation, made - clean))
    assert sorted(map(tuple, after)) == sorted(map(tuple, before))
    assert (after != before).any(1).mean() > 0.9
    assert abs(np.corrcoef(after[:, 0], before[:, 0])[0, 1]) < 0.15


def test_the_order_comes_from_the_generator() -> None:
    """One seed gives one control, another seed another."""
    (clean,), (perturbation,) = middle(1, (0.0, 1.0)), perturbations(1, (0.0, 1.0))
    one, again, other = (
        controls.shuffled(clean, perturbation, bounds=(0.0, 1.0), generator=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.8


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_noise_is_as_large_as_asked_for(bounds: Bounds) -> None:
    """Signs are all at the radius; uniform noise is anywhere within, as often above as below."""
    clean, eps = middle(1, bounds)[0], 8 / 255 * (bounds[1] - bounds[0])
    signs, uniform = (
        np.rint(in_levels(make(clean, eps, bounds=bounds, generator=np.random.default_rng(0)) - clean, bounds))
        for make in (controls.signs, controls.uniform)
    )
    assert np.unique(signs).tolist() == [-8, 8]
    assert np.unique(uniform).tolist() == list(range(-8, 9))
    assert abs((signs > 0).mean() - 0.5) < 0.05
    assert np.abs(uniform).mean() == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_controls_are_what_a_file_holds(bounds: Bounds) -> None:
    """Rounded to 8 bits and within the bounds, float32, also where much is added at a bound."""
    (low, high), width = bounds, bounds[1] - bounds[0]
    clean = (low + width * colour(1)[0]).astype(np.float32)
    strong, draw = 7.3 * perturbations(1, bounds)[0], np.random.default_rng(0)
    made = [
        controls.shuffled(clean, strong, bounds=bounds, generator=draw),
        controls.uniform(clean, 0.3 * width, bounds=bounds, generator=draw),
        controls.signs(clean, 0.3 * width, bounds=bounds, generator=draw),
    ]
    for one in made:
        assert one.dtype == np.float32
        assert (one.min(), one.max()) == pytest.approx((low, high), abs=1e-6 * width)
        assert low <= one.min() <= one.max() <= high
        levels = in_levels(one - low, bounds)
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)


def test_rounded_by_hand() -> None:
    """To the nearest level; what is beyond the bounds is at them."""
    x = np.array([-3.0, -1.0, -1 + 0.9 / 255, -1 + 1.1 / 255, 0.999, 1.0, 5.0], np.float32)
    expected = [-1, -1, -1, -1 + 2 / 255, 1, 1, 1]
    np.testing.assert_allclose(controls.rounded(x, (-1.0, 1.0)), expected, atol=1e-6)


# --- many images, read as they are needed


def lazy(seed: int = 0) -> tuple[Shuffled, Floats, Floats]:
    """Controls of six images, with the clean ones and the perturbations."""
    clean, added = middle(6, (0.0, 1.0)), perturbations(6, (0.0, 1.0))
    return Shuffled(clean + added, clean, (0.0, 1.0), seed), clean, added


def test_any_rows_are_read_alike() -> None:
    """One by one, backwards or all at once: an image has one control."""
    made, clean, _ = lazy()
    whole = np.asarray(made)
    assert (len(made), made.shape, whole.shape, whole.dtype) == (6, clean.shape, clean.shape, np.float32)
    np.testing.assert_array_equal(np.stack([made[position] for position in range(6)]), whole)
    np.testing.assert_array_equal(made[[5, 0, 0]], whole[[5, 0, 0]])
    np.testing.assert_array_equal(made[4:1:-1], whole[4:1:-1])
    assert made[:0].shape == (0, 3, 28, 28)


def test_each_image_has_the_perturbation_of_its_own_attack() -> None:
    """In an order of its own, which depends on the seed."""
    made, clean, added = lazy()
    found = [np.rint(255 * (control - image)) for control, image in zip(made[:], clean, strict=True)]
    for moved, own in zip(found, np.rint(255 * added), strict=True):
        assert sorted(map(tuple, moved.reshape(3, -1).T)) == sorted(map(tuple, own.reshape(3, -1).T))
    assert (lazy(seed=1)[0][:] != made[:]).mean() > 0.8


def test_an_unchanged_image_is_its_own_control() -> None:
    """Where an attack did nothing there is nothing to shuffle."""
    clean = grey(4)
    np.testing.assert_allclose(Shuffled(clean, clean, (0.0, 1.0), 0)[:], clean, atol=1e-6)
