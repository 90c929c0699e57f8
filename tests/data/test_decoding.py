"""Image files and their bytes, in one size and one number of channels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import COLOUR, GREY, picture
from support.tables import Examples, X, same

from ce_detect.core.errors import InputError, MissingExtraError
from ce_detect.core.resizing import Resizing
from ce_detect.data import as_images, load_data


def test_folder_of_mixed_modes_is_read_as_colour(tmp_path: Path) -> None:
    """Grey images among colour ones get three channels, and transparency is dropped."""
    picture(tmp_path / "a" / "0.jpg", GREY[0])
    picture(tmp_path / "a" / "1.png", COLOUR[0])
    picture(tmp_path / "a" / "2.png", COLOUR[0], mode="RGBA")
    images = load_data(tmp_path)
    assert images.x.shape == (3, 3, 4, 5)
    np.testing.assert_array_equal(images.x[1], images.x[2])


def test_photographs_are_turned_as_their_tag_says(tmp_path: Path) -> None:
    """The same photograph under two EXIF tags is the same image."""
    upright, tag = Image.fromarray(COLOUR[0]), Image.Exif()
    tag[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    upright.save(tmp_path / "0.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "1.png", exif=tag)
    images = load_data(tmp_path)
    np.testing.assert_array_equal(images.x[0], images.x[1])


def test_files_of_several_images_are_refused(tmp_path: Path) -> None:
    """A stack or a film is not one image."""
    frames = [Image.fromarray(pixels) for pixels in COLOUR[:2]]
    frames[0].save(tmp_path / "0.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"0\.tif holds 2 images; save each to a file of its own"):
        load_data(tmp_path)


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    """The error names both files and both sizes, width first."""
    picture(tmp_path / "a" / "0.png", GREY[0])
    picture(tmp_path / "b" / "0.png", GREY[0, :3])
    with pytest.raises(InputError, match=r"a/0\.png is 5x4 pixels but .*b/0\.png is 5x3"):
        load_data(tmp_path)


@pytest.mark.parametrize("truncate", [0, 40])
def test_unreadable_image_is_refused(tmp_path: Path, truncate: int) -> None:
    """An image that is empty or cut short is refused by its name."""
    picture(tmp_path / "a" / "0.png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "0.png").write_bytes(whole[:truncate])
    with pytest.raises(InputError, match=r"0\.png cannot be read as an image"):
        load_data(tmp_path)


def test_deep_images_are_refused(tmp_path: Path) -> None:
    """Sixteen bits a channel would be clipped, so they are refused."""
    picture(tmp_path / "a" / "0.png", GREY[0].astype(np.uint16))
    with pytest.raises(InputError, match="more than 8 bits"):
        load_data(tmp_path)


def test_missing_pillow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pillow, reading a folder says which extra brings it."""
    picture(tmp_path / "a" / "0.png", GREY[0])
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"ce-detect\[calibrate\]"):
        load_data(tmp_path)


def test_grey_among_colour_becomes_colour() -> None:
    """As soon as one image is in colour all are, in whatever order they come."""
    grey = X[:, :, :, :1]
    expected = np.concatenate([np.repeat(grey[:2], 3, axis=3), X[2:3], np.repeat(grey[3:], 3, axis=3)])
    same(as_images(Examples([grey[0], grey[1], X[2], *grey[3:]])), expected, None)


def test_what_is_resized_is_kept_where_that_is_asked(tmp_path: Path) -> None:
    """As the viewer shows it, and in every part; arrays and files that are not resized have none."""
    for number, size in enumerate([(40, 60), (50, 30)]):
        picture(tmp_path / f"{number}.png", np.full((*size, 3), 9 + number, np.uint8))
    images = load_data(tmp_path, resizing=Resizing(24, 20), originals=True)
    assert images.originals is not None
    assert [image.shape for image in images.originals] == [(40, 60, 3), (50, 30, 3)]
    kept = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(b"gone")
    last = images.subset([1]).originals  # makes none
    (tmp_path / "0.png").write_bytes(kept)
    assert last is not None
    assert [image.shape for image in last] == [(50, 30, 3)]
    assert [image.max() for image in images.originals[1:]] == [10]
    opened = [Image.open(path) for path in sorted(tmp_path.iterdir())]
    same_ones = as_images(Examples([(image, 0) for image in opened]), resizing=Resizing(24, 20), originals=True)
    assert same_ones.originals is not None
    np.testing.assert_array_equal(same_ones.originals[0], images.originals[0])
    assert load_data(tmp_path, resizing=Resizing(24, 20)).originals is None
    assert load_data(tmp_path / "0.png", originals=True).originals is None
