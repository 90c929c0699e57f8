"""Images of any size come to one size, as torchvision's transforms bring them there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import picture

from ce_detect import Resizing, load_data
from ce_detect.core.errors import InputError, UsageError
from ce_detect.core.resizing import INTERPOLATIONS
from ce_detect.data.resizing import resized, waves


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_shorter_side_is_resized_and_the_middle_cut_out(interpolation: str, channels: int) -> None:
    """A 60x101 image at 32 is 32x53, of which columns 10 (21 / 2 rounds to even) to 42 stay."""
    image = waves(60, 101, channels)
    found = resized(image, Resizing(32, 32, interpolation), "one")  # type: ignore[arg-type]
    drawn = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    whole = np.asarray(drawn.resize((53, 32), Image.Resampling[interpolation.upper()])).reshape(32, 53, channels)
    np.testing.assert_array_equal(found, whole[:, 10:42])


def test_both_sides_may_be_named() -> None:
    """Proportions are given up for a height and a width; without a resize only the middle is cut out."""
    image = waves(60, 101, 3)
    assert resized(image, Resizing((20, 30)), "one").shape == (20, 30, 3)
    assert resized(image, Resizing((20, 30), (10, 8)), "one").shape == (10, 8, 3)
    np.testing.assert_array_equal(resized(image, Resizing(crop=50), "one"), image[5:55, 26:76])
    assert resized(image, Resizing(60, 60), "one").shape == (60, 60, 3)


def test_a_fourth_channel_is_no_transparency() -> None:
    """Each channel is resized by itself."""
    image = waves(60, 101, 4)
    found = resized(image, Resizing((20, 30)), "one")
    for channel in range(4):
        alone = resized(image[:, :, channel : channel + 1], Resizing((20, 30)), "one")
        np.testing.assert_array_equal(found[:, :, channel], alone[:, :, 0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((None, None), "give one of them"),
        ((0, None), "at least 1 pixel"),
        ((32, 33), "at most the resize"),
        (((32, 40), (32, 41)), "at most the resize"),
        ((32, 32, "trilinear"), "expected one of nearest"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: tuple[object, ...], said: str) -> None:
    """Each with the remedy."""
    with pytest.raises(UsageError, match=said):
        Resizing(*settings)  # type: ignore[arg-type]


def test_an_image_smaller_than_the_crop_is_named() -> None:
    """Nothing is padded: the model never saw borders."""
    with pytest.raises(InputError, match="one is 30x20 pixels, too small for a crop of 24x24; give a resize"):
        resized(waves(20, 30), Resizing(crop=24), "one")


def test_files_of_many_sizes_are_read(tmp_path: Path) -> None:
    """A folder of photographs, upright and wide, grey and in colour, becomes one array that says how."""
    for i, size in enumerate([(40, 60), (61, 33), (25, 25)]):
        found = waves(*size)
        picture(tmp_path / f"{i}.png", found[:, :, 0] if i == 1 else found)
    with pytest.raises(InputError, match=re.escape("--resize and --crop, or resizing=ce_detect.Resizing(256, 224)")):
        load_data(tmp_path)
    images = load_data(tmp_path, resizing=Resizing(26, 24))
    assert images.x.shape == (3, 3, 24, 24)
    assert images.resizing == Resizing(26, 24)
    first = resized(waves(40, 60), Resizing(26, 24), "0").transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(images.x[0], first)
    assert images.subset(slice(1)).resizing == Resizing(26, 24)
