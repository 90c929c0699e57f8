"""Pictures for a page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ce_detect.reporting import pictures


def opened(address: str) -> np.ndarray:
    """Levels ``(height, width, 3)``."""
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_small_picture_is_enlarged_by_whole_pixels(channels: int) -> None:
    """Its pixels stay squares of one colour; other than three channels are shown by their mean."""
    pixels = np.random.default_rng(0).random((channels, 4, 2)).astype(np.float32)
    shown = opened(pictures.plain(pixels))
    assert shown.shape == (224, 112, 3)
    planes = pixels if channels == 3 else np.repeat(pixels.mean(0, keepdims=True), 3, 0)
    np.testing.assert_array_equal(shown[28::56, 28::56], np.round(planes * 255).astype(np.uint8).transpose(1, 2, 0))
    assert (shown[:56, :56] == shown[0, 0]).all()


def test_a_large_picture_is_reduced() -> None:
    """Its longer side; its shape stays."""
    assert opened(pictures.plain(np.zeros((3, 300, 1200), np.float32))).shape == (112, 448, 3)


def test_a_map_is_dark_blue_where_least_and_yellow_where_most() -> None:
    """Over black, so that the colours are its own; one that is the same everywhere has one colour."""
    values = np.float32([[0, 1], [2, 4]])
    shown = opened(pictures.with_map(np.zeros((1, 2, 2), np.float32), values)).astype(int)
    least, most = shown[0, 0], shown[-1, -1]
    assert least[2] > least[0]
    assert most[0] > most[2]
    assert most.sum() > least.sum()
    same = opened(pictures.with_map(np.zeros((1, 2, 2), np.float32), np.ones((2, 2), np.float32)))
    assert (same == same[0, 0]).all()


def test_a_smaller_map_is_enlarged_to_its_picture() -> None:
    """Smoothly, in its place: a wide picture has a wide map."""
    values = np.float32([[0, 0, 0, 1]])
    shown = opened(pictures.with_map(np.zeros((1, 4, 8), np.float32), values)).astype(int)
    assert shown.shape == (112, 224, 3)
    assert (np.diff(shown[0].sum(1)) >= 0).all()
    assert shown[0, -1, 0] > shown[0, 0, 0]


def test_no_change_is_grey_and_the_largest_one_is_white_or_black() -> None:
    """As strong as is said, so that the smallest change can be seen."""
    change = np.float32([[[0, 0.01], [-0.02, 0]]])
    shown = opened(pictures.difference(change)).astype(int)[..., 0]
    assert (shown[0, 0], shown[-1, 0], shown[0, -1]) == (128, 0, 191)
    assert pictures.strength(change) == pytest.approx(50)
    assert (opened(pictures.difference(np.zeros((1, 2, 2), np.float32))) == 128).all()


def test_a_map_leaves_a_picture_alone_where_it_is_nan() -> None:
    """There the picture stays, in grey."""
    values = np.float32([[0, 1], [np.nan, 4]])
    shown = opened(pictures.with_map(np.full((1, 2, 2), 0.6, np.float32), values))
    assert (shown[-1, 0] == 153).all()
    assert (shown[0, 0] != shown[0, -1]).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_a_file_is_reduced_as_a_page_shows_it(channels: int) -> None:
    """In [0, 1], its shape stays; a small one stays as it is."""
    large = pictures.of_file(np.full((300, 1200, channels), 255, np.uint8))
    assert large.shape == (channels, 112, 448)
    assert large.min() == 1
    assert pictures.of_file(np.zeros((30, 40, channels), np.uint8)).shape == (channels, 30, 40)
