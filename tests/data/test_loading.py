"""Images and labels from files, factories and memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from ce_detect.core.errors import InputError, MissingExtraError, UsageError
from ce_detect.data import Images, as_images, load_data

GREY = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
COLOUR = np.arange(6 * 4 * 5 * 3, dtype=np.uint16).astype(np.uint8).reshape(6, 4, 5, 3)
FLOATS = np.linspace(-2, 2, 6 * 3 * 4 * 5, dtype=np.float32).reshape(6, 3, 4, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def npz(path: Path, **arrays: object) -> Path:
    """Write arrays under their names and return the path."""
    np.savez_compressed(path, **arrays)
    return path


def picture(path: Path, pixels: NDArray[np.generic], mode: str | None = None) -> None:
    """Write one image file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


def labels_of(images: Images) -> list[int]:
    """Labels that must be there."""
    assert images.y is not None
    return images.y.tolist()


# --- files of arrays


def test_npz_with_plain_names(tmp_path: Path) -> None:
    """Grey uint8 images become one-channel floats in [0, 1] with known bounds."""
    images = load_data(str(npz(tmp_path / "set.npz", x=GREY, y=LABELS)))
    assert images.x.dtype == np.float32
    assert images.bounds == (0.0, 1.0)
    assert labels_of(images) == LABELS.tolist()
    np.testing.assert_allclose(images.x, GREY[:, None] / 255, rtol=1e-6)


@pytest.mark.parametrize("names", ["x_{} y_{}", "{}_images {}_labels"])
def test_npz_with_splits(tmp_path: Path, names: str) -> None:
    """The test split is the default, another is taken by name, in our spelling and in MedMNIST's."""
    arrays: dict[str, object] = {}
    for split, rows in (("train", 6), ("test", 2)):
        x_name, y_name = names.format(split, split).split()
        arrays |= {x_name: COLOUR[:rows], y_name: LABELS[:rows, None]}
    path = npz(tmp_path / "set.npz", **arrays)
    assert len(load_data(path)) == 2
    train = load_data(path, split="train")
    assert train.x.shape == (6, 3, 4, 5)
    assert labels_of(train) == LABELS.tolist()


def test_layouts_of_uint8_agree(tmp_path: Path) -> None:
    """Channels last and channels first give the same images."""
    last = load_data(npz(tmp_path / "last.npz", x=COLOUR))
    first = load_data(npz(tmp_path / "first.npz", x=COLOUR.transpose(0, 3, 1, 2)))
    np.testing.assert_array_equal(last.x, first.x)
    assert last.x.flags.c_contiguous


def test_float_values_are_left_alone(tmp_path: Path) -> None:
    """Float images keep their values, have no labels and no known bounds."""
    np.save(tmp_path / "set.npy", FLOATS.astype(np.float64))
    images = load_data(tmp_path / "set.npy")
    np.testing.assert_array_equal(images.x, FLOATS)
    assert images.y is None
    assert images.bounds is None


def test_limit_keeps_the_first_images(tmp_path: Path) -> None:
    """A limit takes images and labels alike, and may exceed what there is."""
    path = npz(tmp_path / "set.npz", x=FLOATS, y=LABELS)
    assert labels_of(load_data(path, limit=2)) == [0, 1]
    assert len(load_data(path, limit=100)) == 6


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": GREY}, r"has the keys images, expected images under x or x_test or test_images"),
        ({}, r"has the keys \(none\)"),
        ({"x": GREY, "y": LABELS[:5]}, "6 images but 5 labels"),
        ({"x": GREY, "y": LABELS.astype(float)}, "labels of dtype float64, expected integers"),
        ({"x": GREY, "y": np.eye(6, dtype=int)}, r"labels of shape \(6, 6\).*argmax"),
        ({"x": GREY.astype(np.int32)[:, None]}, "dtype int32, expected floats"),
        ({"x": GREY.astype(np.float32)}, r"shape \(6, 4, 5\), expected \(n, C, H, W\)"),
        ({"x": np.zeros((2, 7, 4, 5), np.uint8)}, r"uint8 images of shape \(2, 7, 4, 5\)"),
        ({"x": np.zeros((0, 1, 4, 5))}, "expected at least one image"),
        ({"x": np.float32(1)}, "expected at least one image"),
        ({"x": np.array([GREY, "text"], dtype=object)}, "Object arrays and pickles are refused"),
    ],
)
def test_unusable_arrays_are_refused(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    """The error names what the file has and what was expected."""
    with pytest.raises(InputError, match=message):
        load_data(npz(tmp_path / "set.npz", **arrays))


def test_absent_split_is_refused(tmp_path: Path) -> None:
    """A split asked for by name is never replaced by another."""
    with pytest.raises(InputError, match=r"keys x, expected images under x_val or val_images"):
        load_data(npz(tmp_path / "set.npz", x=GREY), split="val")


@pytest.mark.parametrize("name", ["set.npz", "set.npy"])
@pytest.mark.parametrize("content", [b"", b"neither", b"PK\x03\x04 truncated"])
def test_broken_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """Empty, foreign and truncated files give one error that names the file."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.* cannot be read"):
        load_data(tmp_path / name)


def test_damaged_member_is_refused(tmp_path: Path) -> None:
    """A zip whose directory is whole but whose pixels are damaged is refused."""
    path = npz(tmp_path / "set.npz", x=np.random.default_rng(0).integers(0, 256, (50, 9, 9), np.uint8))
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_data(path)


def test_misnamed_files_are_refused(tmp_path: Path) -> None:
    """An .npy file named .npz, and the reverse, are refused with the name that they should have."""
    np.save(tmp_path / "one.npy", FLOATS)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    npz(tmp_path / "two.npz", x=FLOATS).rename(tmp_path / "two.npy")
    with pytest.raises(InputError, match=r"rename it to one\.npy"):
        load_data(tmp_path / "one.npz")
    with pytest.raises(InputError, match=r"rename it to two\.npz"):
        load_data(tmp_path / "two.npy")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent.npz", "no data file"),
        ("absent.npy", "no data file"),
        ("no/such/folder", "no data that can be loaded; expected a folder"),
        ("absent.py:make", "no Python file"),
        ("no_such_package:make", "no module"),
    ],
)
def test_spec_that_names_nothing_is_a_usage_error(spec: str, message: str) -> None:
    """Whatever the kind of data, an absent one is a usage error."""
    with pytest.raises(UsageError, match=message):
        load_data(spec)


def test_senseless_options_are_usage_errors(tmp_path: Path) -> None:
    """A limit below one, and a split of something that has none, are refused."""
    with pytest.raises(UsageError, match="limit is 0"):
        load_data("demo", limit=0)
    with pytest.raises(UsageError, match=r"split 'train' applies to \.npz files and folders of parquet files only"):
        load_data("demo", split="train")
    with pytest.raises(UsageError, match="name the 'test' part"):
        load_data(tmp_path, split="test")


def test_demo_images() -> None:
    """The packaged images are 2,000 grey ones of ten classes."""
    images = load_data("demo", split="test")
    assert images.x.shape == (2000, 1, 28, 28)
    assert images.bounds == (0.0, 1.0)
    assert set(labels_of(images)) == set(range(10))


# --- folders


def test_folder_of_class_folders(tmp_path: Path) -> None:
    """Classes are numbered by name and come in turn; other files and hidden folders are passed over."""
    for number in range(2):
        picture(tmp_path / "cat" / f"{number}.png", GREY[number])
        picture(tmp_path / "dog" / f"{number}.PNG", GREY[number + 2])
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    images = load_data(tmp_path)
    assert labels_of(images) == [0, 1, 0, 1]
    np.testing.assert_allclose(images.x[:, 0], GREY[[0, 2, 1, 3]] / 255, rtol=1e-6)
    assert labels_of(load_data(tmp_path, limit=2)) == [0, 1]


def test_folder_of_mixed_modes_is_read_as_colour(tmp_path: Path) -> None:
    """Grey images among colour ones get three channels, and transparency is dropped."""
    picture(tmp_path / "a" / "0.jpg", GREY[0])
    picture(tmp_path / "a" / "1.png", COLOUR[0])
    picture(tmp_path / "a" / "2.png", COLOUR[0], mode="RGBA")
    images = load_data(tmp_path)
    assert images.x.shape == (3, 3, 4, 5)
    np.testing.assert_array_equal(images.x[1], images.x[2])


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


@pytest.mark.parametrize("classes", [0, 2])
def test_empty_folder_is_refused(tmp_path: Path, classes: int) -> None:
    """A folder without images says how many class folders it has and what was expected."""
    for number in range(classes):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(InputError, match=f"holds {classes} class folders with no image"):
        load_data(tmp_path)


def test_missing_pillow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pillow, reading a folder says which extra brings it."""
    picture(tmp_path / "a" / "0.png", GREY[0])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"ce-detect\[calibrate\]"):
        load_data(tmp_path)


# --- factories


@pytest.mark.parametrize(
    ("result", "labels", "bounds"),
    [
        ("np.zeros((3, 4, 5), np.uint8), [0, 1, 2]", [0, 1, 2], (0.0, 1.0)),
        ("np.zeros((3, 1, 4, 5))", None, None),
        ("[(np.zeros((1, 1, 4, 5)), np.array([i])) for i in range(3)]", [0, 1, 2], None),
    ],
)
def test_factory_of_data(
    tmp_path: Path, result: str, labels: list[int] | None, bounds: tuple[float, float] | None
) -> None:
    """A factory may return a pair, images alone, or batches."""
    path = tmp_path / "mine.py"
    path.write_text(f"import numpy as np\ndef make():\n    return {result}\n")
    images = load_data(f"{path}:make", limit=3)
    assert images.x.shape == (3, 1, 4, 5)
    assert images.bounds == bounds
    assert (None if images.y is None else images.y.tolist()) == labels
    assert len(load_data(f"{path}:make", limit=2)) == 2


# --- memory


def test_arrays_and_tensors_agree() -> None:
    """A tensor that requires grad, of any float type, gives what the array gives."""
    expected = as_images(FLOATS, LABELS)
    got = as_images(torch.tensor(FLOATS, dtype=torch.float64, requires_grad=True), torch.tensor(LABELS)[:, None])
    np.testing.assert_array_equal(got.x, expected.x)
    assert labels_of(got) == labels_of(expected) == LABELS.tolist()
    assert as_images(torch.tensor(FLOATS).bfloat16()).x.dtype == np.float32


def batches_of_pairs() -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yield the images and labels in two batches of different size."""
    for start in (0, 4):
        yield FLOATS[start : start + 4], LABELS[start : start + 4]


def test_batches_equal_the_whole() -> None:
    """A generator, a list of pairs and a DataLoader all give what the whole arrays give."""
    dataset = TensorDataset(torch.tensor(FLOATS), torch.tensor(LABELS))
    for batches in (batches_of_pairs(), list(batches_of_pairs()), DataLoader(dataset, batch_size=4)):
        images = as_images(batches)
        np.testing.assert_array_equal(images.x, FLOATS)
        assert labels_of(images) == LABELS.tolist()


def test_labels_may_come_beside_batches() -> None:
    """Batches of images alone take their labels from y, or have none."""
    alone = DataLoader(TensorDataset(torch.tensor(FLOATS)), batch_size=4)
    assert labels_of(as_images(alone, LABELS)) == LABELS.tolist()
    assert as_images([FLOATS[:4], FLOATS[4:]]).y is None


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ({"train": FLOATS}, None, "x is dict, expected an array or tensor"),
        (7, None, "x is int"),
        ([], None, "no batches"),
        (GREY[:, None], None, "dtype uint8, expected floats; scale to float32 within the model's bounds"),
        (torch.zeros(2, 1, 4, 5, dtype=torch.int64), None, "dtype int64"),
        (FLOATS.astype(complex), None, "dtype complex128"),
        (FLOATS[0], None, r"shape \(3, 4, 5\), expected \(n, C, H, W\)"),
        ([FLOATS[0], FLOATS[1]], None, r"batch 0 of x has shape \(3, 4, 5\)"),
        ([{"pixels": FLOATS}], None, "batch 0 of x is dict, expected an array"),
        ([(FLOATS, LABELS, LABELS)], None, "batch 0 of x is tuple"),
        ([FLOATS, FLOATS[:, :, :2]], None, r"batch 1 of x has shape \(6, 3, 2, 5\), but batch 0 has \(6, 3, 4, 5\)"),
        ([(FLOATS, LABELS), FLOATS], None, "1 of 2 batches of x have labels"),
        ([(FLOATS, LABELS)], LABELS, "labels were passed twice"),
        ([(FLOATS, LABELS[:3])], None, "batch 0 of x has 6 images but 3 labels"),
        (FLOATS, LABELS[:3], "6 images but 3 labels"),
        (FLOATS[:0], LABELS[:0], "at least one image"),
    ],
)
def test_unusable_memory_is_refused(x: object, y: object, message: str) -> None:
    """The error names what was passed, and in which batch."""
    with pytest.raises(InputError, match=message):
        as_images(x, y)


def test_names_and_images_pass_through(tmp_path: Path) -> None:
    """What `load_data` takes and gives is taken too, and labels may come beside it, once."""
    np.save(tmp_path / "set.npy", FLOATS)
    images = as_images(tmp_path / "set.npy", LABELS)
    assert labels_of(images) == LABELS.tolist()
    assert as_images(images) is not None
    np.testing.assert_array_equal(as_images(images, limit=2).x, FLOATS[:2])
    with pytest.raises(InputError, match="labels were passed twice"):
        as_images(images, LABELS)
    with pytest.raises(UsageError, match="no data file"):
        as_images(str(tmp_path / "absent.npz"))


def test_subset_takes_images_and_labels_alike() -> None:
    """Positions, slices and masks select the same rows of both."""
    images = Images(FLOATS, LABELS, bounds=(-2.0, 2.0))
    for index in ([1, 2], slice(1, 3), (np.arange(6) == 1) | (np.arange(6) == 2)):
        part = images.subset(index)
        np.testing.assert_array_equal(part.x, FLOATS[1:3])
        assert labels_of(part) == [1, 2]
        assert part.bounds == (-2.0, 2.0)
    assert Images(FLOATS).subset([0]).y is None


def test_numpy_users_never_import_torch() -> None:
    """Loading and gathering arrays imports neither torch nor pillow."""
    program = (
        "import sys, numpy as np; from ce_detect.data import as_images, load_data; load_data('demo', limit=2);"
        "as_images([np.zeros((1, 1, 2, 2))], [0]); sys.exit(bool({'torch', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
