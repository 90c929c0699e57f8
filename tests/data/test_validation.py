"""The door: what is turned away, and what is said of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from support.inputs import PIXELS, SHAPE, check

from ce_detect.core.errors import InputError
from ce_detect.data import Mapped, as_images, validation
from ce_detect.data.validation import check_all, found_bounds, found_shape


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (PIXELS.tolist(), r"got list, expected a NumPy array or a torch tensor; expected \(batch, 3, 4, 5\)"),
        (None, "got NoneType"),
        (PIXELS[0], r"got shape \(3, 4, 5\), expected \(batch, 3, 4, 5\); for a single input pass x\[None\]"),
        (PIXELS.transpose(0, 2, 3, 1), r"got shape \(2, 4, 5, 3\).*come first: pass x\.transpose\(0, 3, 1, 2\)"),
        (torch.zeros(2, 4, 5, 3), r"channels come first.*x\.permute\(0, 3, 1, 2\)"),
        (PIXELS[:, :1], r"got shape \(2, 1, 4, 5\), .*: repeat the grey channel, x\.repeat\(3, axis=1\)"),
        (PIXELS[None], r"got shape \(1, 2, 3, 4, 5\)"),
        (np.array(0.5, np.float32), r"got shape \(\)"),
        (PIXELS[:0], r"got an empty batch, expected \(batch, 3, 4, 5\) with at least one input"),
        (PIXELS.astype(np.uint8), r"got uint8 pixels, expected floating point within \[0, 1\]; .*: x / 255 in"),
        (torch.zeros(2, *SHAPE, dtype=torch.int64), r"got torch\.int64 pixels"),
        (PIXELS > 0.5, "got bool pixels"),
        (PIXELS.astype(complex), "got complex128 pixels"),
        (
            PIXELS * 255,
            r"from .* to 2[45]\d.*, outside the bounds \[0, 1\]\. They look like bytes 0-255: pass x / 255",
        ),
        (
            (PIXELS - 0.5) / 0.2,
            r"pixels range from -2\..*look normalised\. .*Normalized\(model, mean=\.\.\., std=\.\.\.\)",
        ),
        (PIXELS * 2 - 1, r"look scaled to \[-1, 1\]: pass \(x \+ 1\) / 2\. If they are normalised"),
        (PIXELS * 15, "Scale the inputs as at calibration"),
        (PIXELS[:, 0], r"got shape \(2, 4, 5\)"),
        (PIXELS[0].transpose(1, 2, 0), r"pass x\.transpose\(2, 0, 1\)\[None\]"),
        (PIXELS[:, [0, 1, 2, 0]], r"drop the transparency: pass x\[:, :3\]"),
        (PIXELS[:, :, :2], "resize the images to 4 by 5"),
        (np.ma.masked_less(PIXELS, PIXELS.max()), r"masked array that hides 119 of 120 values.*x\.filled\(value\)"),
    ],
)
def test_others_are_turned_away(x: Any, message: str) -> None:
    """The error names what was passed, what was expected and, where it can be guessed, the remedy."""
    with pytest.raises(InputError, match=message):
        check(x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_turned_away(bad: float) -> None:
    """NaN and infinity are counted by input, and the first such input is named."""
    x = np.concatenate([PIXELS, PIXELS])
    x[1, 2, 0, 0] = x[1, 0, 0, 0] = x[3, 0, 0, 0] = bad
    with pytest.raises(InputError, match="NaN or infinite pixels in 2 of 4 inputs, first at position 1"):
        check(x)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
def test_bounds_are_exact_but_for_rounding(bounds: tuple[float, float]) -> None:
    """The bounds themselves are let in, and a hair beyond them; a thousandth of the range beyond is not."""
    low, high = bounds
    width = high - low
    for beyond in (0.0, 1e-6 * width):
        x = np.full((1, *SHAPE), low - beyond)
        x[..., 0] = high + beyond
        check(x, bounds)
    for x in (np.full((1, *SHAPE), low - 1e-3 * width), np.full((1, *SHAPE), high + 1e-3 * width)):
        with pytest.raises(InputError, match="outside the bounds"):
            check(x, bounds)


@pytest.mark.parametrize(
    ("least", "largest", "bounds"),
    [(0, 1, (0, 1)), (0.2, 0.9, (0, 1)), (0, 255, (0, 255)), (3, 200, (0, 255)), (0, 0, (0, 1)), (0.5, 17, (0, 255))],
)
def test_bounds_are_found(least: float, largest: float, bounds: tuple[float, float]) -> None:
    """Pixels from 0 to 1, and from 0 to 255, tell the bounds."""
    assert found_bounds(np.array([least, largest])) == bounds


@pytest.mark.parametrize(("least", "largest"), [(-2.1, 2.6), (0, 1.5), (0, 16), (0, 65535), (-1, 1)])
def test_bounds_that_cannot_be_found_must_be_named(least: float, largest: float) -> None:
    """Normalised or otherwise scaled pixels tell no bounds; the error says how to name them."""
    with pytest.raises(InputError, match=r"tells no bounds. Name them: .*bounds=\(low, high\).*normalised by mean"):
        found_bounds(np.array([least, largest]))


@pytest.mark.parametrize(
    ("bounds", "levels"), [((0.0, 255.0), "x"), ((-1.0, 1.0), "x / 127.5 - 1"), ((-0.5, 0.5), "x / 255 - 0.5")]
)
def test_remedy_fits_the_bounds(bounds: tuple[float, float], levels: str) -> None:
    """What becomes of grey levels depends on the bounds."""
    with pytest.raises(InputError, match=re.escape(f"convert and scale them first: {levels} in floating point")):
        check((PIXELS * 255).astype(np.uint8), bounds)
    with pytest.raises(InputError, match=re.escape("pass (x + 1) / 2 * 255")):
        check(PIXELS * 2 - 1, (0.0, 255.0))


@pytest.mark.parametrize("bounds", [(0.0, 255.0), (0.0, 1.0)])
def test_pixels_divided_once_too_often_are_let_in_with_a_warning(
    bounds: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    """[0, 1] for a model of [0, 255] is within the bounds, so the gate judges it, and says so; plain black is black."""
    check(PIXELS * bounds[1] / 255, bounds)
    assert "divided by 255 once too often: pass x * 255" in caplog.text
    caplog.clear()
    check(np.zeros_like(PIXELS), bounds)
    check(PIXELS * bounds[1] / 100, bounds)
    assert not caplog.text


def many(change: Any = None) -> np.ndarray[Any, Any]:
    """More images than are checked at a time."""
    x = np.random.default_rng(1).uniform(size=(150, *SHAPE)).astype(np.float32)
    return x if change is None else change(x)


@pytest.mark.parametrize(
    ("x", "kind"), [(PIXELS.astype(np.float16), "float16"), (torch.from_numpy(PIXELS).bfloat16(), r"torch.bfloat16")]
)
def test_coarse_pixels_are_let_in_with_a_warning(x: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Once in a process: verdicts near the threshold may flip."""
    validation._warn_of_rounding.cache_clear()
    for _ in range(2):
        check(x)
    assert caplog.text.count(f"got {kind} pixels, which are rounded more") == 1
    caplog.clear()
    check(PIXELS.astype(np.float64))
    assert not caplog.text


def test_images_of_a_calibration_are_let_in() -> None:
    """Also where they are read bit by bit."""
    check_all(many(), input_shape=SHAPE, bounds=(0.0, 1.0))
    check_all(Mapped(many(), lambda x: x * 255), input_shape=SHAPE, bounds=(0.0, 255.0))


@pytest.mark.parametrize(
    ("x", "bounds", "message"),
    [
        (many(lambda x: x.transpose(0, 2, 3, 1)), (0.0, 1.0), "channels come first"),
        (many(lambda x: x * 255), (0.0, 1.0), "outside the bounds.*pass x / 255"),
        (many(lambda x: x), (0.0, 255.0), "divided by 255 once too often"),
        (many(lambda x: (x - 0.5) / 0.3), (0.0, 1.0), "look normalised"),
        (many(lambda x: np.where(np.arange(150)[:, None, None, None] % 100 == 70, np.nan, x)), (0.0, 1.0),
         "in 1 of 150 inputs, first at position 70"),
    ],
)  # fmt: skip
def test_images_of_a_calibration_are_turned_away(x: Any, bounds: tuple[float, float], message: str) -> None:
    """The same mistakes as at the gate, and what is certain only of many images."""
    with pytest.raises(InputError, match=message):
        check_all(x, input_shape=SHAPE, bounds=bounds)


def test_half_of_the_range_is_called_out(caplog: pytest.LogCaptureFixture) -> None:
    """[0, 1] for a model of [-1, 1] is possible, so it is a warning."""
    check_all(many(), input_shape=SHAPE, bounds=(-1.0, 1.0))
    assert "between" in caplog.text
    assert "but the bounds are [-1, 1]" in caplog.text


def test_masked_images_of_a_calibration_are_turned_away() -> None:
    """They are read as they are, and what is hidden would be there."""
    with pytest.raises(InputError, match="masked array that hides 1 of"):
        as_images(np.ma.masked_equal(PIXELS, PIXELS.max()), None)


def test_shape_is_found() -> None:
    """Channels, height and width are those of the images, unless the channels come last."""
    assert found_shape((9, 3, 32, 28)) == (3, 32, 28)
    assert found_shape((9, 1, 4, 4)) == (1, 4, 4)
    with pytest.raises(InputError, match=r"seem to come last; pass x\.transpose\(0, 3, 1, 2\)"):
        found_shape((9, 32, 28, 3))
