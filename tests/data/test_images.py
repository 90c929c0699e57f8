"""Images with their labels and their pixel range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.pictures import COLOUR, FLOATS, LABELS, labels_of, npz

from ce_detect.data import Images, load_data
from ce_detect.data.decoding import Stack


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_layouts_of_uint8_agree(channels: int, tmp_path: Path) -> None:
    """Channels last and channels first give the same images, one by one too, of grey, of colour and with a fourth."""
    x = np.concatenate([COLOUR, COLOUR[..., :1]], axis=-1)[..., :channels]
    last = load_data(npz(tmp_path / "last.npz", x=x))
    first = load_data(npz(tmp_path / "first.npz", x=x.transpose(0, 3, 1, 2)))
    np.testing.assert_array_equal(last.x, first.x)
    assert last.x.flags.c_contiguous
    stack = Stack()
    for image in x:
        stack.append(image.transpose(2, 0, 1), None, "image")
    np.testing.assert_array_equal(stack.images("images").x, last.x)


def test_subset_takes_images_and_labels_alike() -> None:
    """Positions, slices and masks select the same rows of both."""
    images = Images(FLOATS, LABELS, bounds=(-2.0, 2.0))
    for index in ([1, 2], slice(1, 3), (np.arange(6) == 1) | (np.arange(6) == 2)):
        part = images.subset(index)
        np.testing.assert_array_equal(part.x, FLOATS[1:3])
        assert labels_of(part) == [1, 2]
        assert part.bounds == (-2.0, 2.0)
    assert Images(FLOATS).subset([0]).y is None


@pytest.mark.parametrize("bounds", [(0.0, 255.0), (-1.0, 1.0)])
def test_grey_levels_follow_the_bounds(bounds: tuple[float, float]) -> None:
    """Pixels whose own bounds are known are scaled to others; those of unknown bounds are left alone."""
    images = Images(FLOATS, LABELS, (0.0, 1.0)).within(bounds)
    low, high = bounds
    np.testing.assert_allclose(images.x, low + (high - low) * FLOATS, rtol=1e-5, atol=1e-6)
    assert images.bounds == bounds
    assert Images(FLOATS).within(bounds).pixels is FLOATS
