"""Maps in the size of the image that an input was made of."""

from __future__ import annotations

import numpy as np
import pytest

from ce_detect import Resizing
from ce_detect.core.resizing import Region
from ce_detect.data.images import Originals
from ce_detect.explain.originals import described, enlarged


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (33, 47), (12, 12)])
def test_a_map_lies_where_its_input_was_cut(size: tuple[int, int]) -> None:
    """A bright spot of the input comes back to the pixel that it was made of; what was cut off is NaN."""
    resizing = Resizing(32, 28)
    part = resizing.shown(*size)
    values = np.zeros((28, 28), np.float32)
    values[7, 21] = 1
    found = enlarged(values, size, part)
    assert found.shape == size
    tall, wide = resizing.resized(*size)
    there = ((7.5 + (tall - 28) / 2) * size[0] / tall, (21.5 + (wide - 28) / 2) * size[1] / wide)
    spot = np.unravel_index(np.nanargmax(found), size)
    assert np.abs(np.asarray(spot) + 0.5 - there).max() <= 1.5 * max(1.0, size[0] / tall)
    seen = np.isfinite(found)
    assert seen.mean() == pytest.approx(part.height * part.width, abs=1 / min(size))
    assert seen[size[0] // 2, size[1] // 2]
    assert not seen[0, 0]


def test_a_resize_without_a_crop_shows_all() -> None:
    """Also where it keeps no proportions; a constant map stays constant."""
    part = Resizing((28, 28)).shown(100, 40)
    assert part == Region(0.0, 0.0, 1.0, 1.0)
    assert np.array_equal(enlarged(np.full((28, 28), 2.5, np.float32), (100, 40), part), np.full((100, 40), 2.5))


def test_a_crop_alone_is_told_in_pixels() -> None:
    """As JSON has it."""
    image, part = Originals([lambda: np.zeros((40, 60, 3), np.uint8)], Resizing(crop=(28, 30))).shown(0)
    shown = {"top": 6.0, "left": 15.0, "height": 28.0, "width": 30.0}
    assert described(image, part) == {"height": 40, "width": 60, "shown": shown}
