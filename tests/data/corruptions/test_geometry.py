"""Where things are after they were scaled, cropped, moved, turned."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.corrupted import LEVEL, colour, corrupted, flat, grey, photographs

from ce_detect.core.types import Floats
from ce_detect.data.corruptions import geometry

SPOTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Brightness of spots that differ in it only, and so draw differently."""


def spot(bright: float, row: float, column: float, side: int = 63) -> Floats:
    """One image of a soft spot in the dark."""
    rows, columns = np.mgrid[:side, :side]
    image = bright * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)
    return np.asarray(image, np.float32)[None, None]


def centre(image: Floats) -> tuple[float, float]:
    """Row and column of the centre of brightness."""
    rows, columns = np.mgrid[: image.shape[-2], : image.shape[-1]]
    return float((image * rows).sum() / image.sum()), float((image * columns).sum() / image.sum())


@pytest.mark.parametrize("kind", ["shrink", "shrink-sharply", "enlarge", "crop", "rotation", "perspective", "shift"])
def test_one_colour_stays_one_colour(kind: str) -> None:
    """No black comes in at the edges, also of images that are not square."""
    x = np.concatenate([flat(0.2, 1, 30, 20), flat(0.6, 1, 30, 20), flat(1.0, 1, 30, 20)], axis=1)
    np.testing.assert_allclose(corrupted(kind, x, 2), x, atol=LEVEL)


@pytest.mark.parametrize(
    ("kind", "severity", "side", "filters"),
    [
        ("shrink", 1, (25, 25), ("BILINEAR", "BOX")),
        ("shrink", 2, (22, 22), ("BILINEAR", "BOX")),
        ("shrink-sharply", 2, (22, 22), ("LANCZOS", "BICUBIC")),
        ("enlarge", 2, (42, 42), ("BILINEAR", "BICUBIC", "LANCZOS")),
    ],
)
def test_scaled_there_and_back_by_a_filter_of_pillow(
    kind: str, severity: int, side: tuple[int, int], filters: tuple[str, ...]
) -> None:
    """The size is kept; over some images each filter is used, and no other."""
    used = []
    for image, out in zip(grey(), corrupted(kind, grey(), severity), strict=True):
        picture = Image.fromarray(np.round(image[0] * 255).astype(np.uint8))
        scaled = {
            name: np.asarray(picture.resize(side, taken).resize((28, 28), taken), np.float32) / 255
            for name in filters
            for taken in [Image.Resampling[name]]
        }
        used += [name for name, pixels in scaled.items() if np.allclose(out[0], pixels, atol=1e-6)]
    assert len(used) >= len(grey())
    assert set(used) == set(filters)


def test_sides_keep_their_proportion() -> None:
    """A tall image is scaled by the same share both ways, and has the size that it had."""
    x = photographs(1)
    assert x.shape == (1, 3, 96, 80)
    for kind in ("shrink", "shrink-sharply", "enlarge", "crop", "shift", "rotation", "perspective"):
        out = corrupted(kind, x, 2)
        assert out.shape == x.shape
        assert abs(out - x).max() > 0.05


def test_a_crop_is_a_part_as_large_as_asked_for() -> None:
    """On a ramp brightness then rises by that share; somewhere else in each image."""
    steps = np.linspace(0.1, 0.9, 60, dtype=np.float32)
    starts = []
    for shade in SPOTS:
        out = corrupted("crop", np.float32(shade) * np.tile(steps, (60, 1))[None, None], 2)[0, 0] / shade
        assert out[:, 50].mean() - out[:, 10].mean() == pytest.approx(0.9 * (steps[50] - steps[10]), abs=0.01)
        starts.append(out[0, 0])
    assert max(starts) - min(starts) > 0.02


@pytest.mark.parametrize(("severity", "step"), [(1, 1), (2, 2)])
def test_shift_moves_by_whole_pixels(severity: int, step: int) -> None:
    """In one of eight directions; what comes in repeats the edge."""
    directions = [(down, right) for down in (-step, 0, step) for right in (-step, 0, step) if down or right]
    found = set()
    for image, out in zip(grey(120), corrupted("shift", grey(120), severity), strict=True):
        padded = np.pad(image[0], step, mode="edge")
        moved = {
            (down, right): padded[step - down : step - down + 28, step - right : step - right + 28]
            for down, right in directions
        }
        fits = [direction for direction, pixels in moved.items() if np.allclose(out[0], pixels, atol=1e-6)]
        assert fits
        assert np.abs(out - image).max() > 0
        found |= set(fits)
    assert found == set(directions)


def test_shift_is_one_pixel_at_least() -> None:
    """Also of images of which the share is less."""
    x = colour(4)[:, :, :10, :10]
    assert (np.abs(corrupted("shift", x) - x).max((1, 2, 3)) > 0).all()


def test_flip_exchanges_left_and_right() -> None:
    """Twice is not at all."""
    np.testing.assert_allclose(corrupted("flip", colour()), colour()[..., ::-1], atol=1e-6)
    np.testing.assert_allclose(corrupted("flip", corrupted("flip", colour())), colour(), atol=1e-6)


@pytest.mark.parametrize(("severity", "angle"), [(1, 3), (2, 6)])
def test_rotation_turns_by_its_angle(severity: int, angle: int) -> None:
    """A spot to the right of the centre moves by that, up in some images and down in others."""
    angles = set()
    for shade in SPOTS:
        row, column = centre(corrupted("rotation", spot(shade, 31, 51), severity)[0, 0])
        angles.add(round(float(np.degrees(np.arctan2(row - 31, column - 31)))))
    assert angles == {-angle, angle}


def test_perspective_takes_corners_from_further_in() -> None:
    """Spots at the corners move outward, by up to the share of the side, each by another distance."""
    generator = np.random.default_rng(0)
    moved = []
    for row, column in ((10, 10), (10, 52), (52, 52), (52, 10)):
        for _ in range(6):
            out = geometry.perspective(spot(1.0, row, column)[0], 0.08, generator)[0]
            down, right = centre(out)
            outward = np.sign(row - 31) * (down - row), np.sign(column - 31) * (right - column)
            assert all(-0.6 < distance < 0.08 * 63 + 0.6 for distance in outward)
            moved.append(max(outward))
    assert max(moved) > 2
    assert np.std(moved) > 0.5
