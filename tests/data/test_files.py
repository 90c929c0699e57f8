"""Images in files: arrays and folders of class folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.pictures import COLOUR, FLOATS, GREY, LABELS, labels_of, npz, picture
from support.tables import X, Y, encoded, png, same, table

from ce_detect.core.errors import InputError, UsageError
from ce_detect.data import load_data


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


def test_float_values_are_left_alone(tmp_path: Path) -> None:
    """Float images keep their values, have no labels and no known bounds."""
    np.save(tmp_path / "set.npy", FLOATS.astype(np.float64))
    images = load_data(tmp_path / "set.npy")
    np.testing.assert_array_equal(images.x, FLOATS)
    assert images.y is None
    assert images.bounds is None


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


@pytest.mark.parametrize("classes", [0, 2])
def test_empty_folder_is_refused(tmp_path: Path, classes: int) -> None:
    """A folder without images says how many class folders it has and what was expected."""
    for number in range(classes):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(InputError, match=f"holds {classes} class folders with no image"):
        load_data(tmp_path)


def test_table_of_the_hub(tmp_path: Path) -> None:
    """A struct of bytes and path beside integer labels; columns of other meaning are passed over."""
    path = table(tmp_path / "a.parquet", id=[9] * 6, image=encoded(), label=Y, caption=["x"] * 6)
    same(load_data(path))
    same(load_data(path, limit=4), X[:4], Y[:4])


def test_table_of_plain_bytes_without_labels(tmp_path: Path) -> None:
    """The only column of bytes holds the images, whatever its name."""
    same(load_data(table(tmp_path / "a.parquet", picture=[png(pixels) for pixels in X])), y=None)


@pytest.mark.parametrize("names", ["data/{}-0000{}-of-00002.parquet", "{}/000{}.parquet"])
def test_folder_of_shards(tmp_path: Path, names: str) -> None:
    """Shards of a split are read in order, the test split by default, another by name."""
    for shard, rows in enumerate([slice(0, 4), slice(4, 6)]):
        table(tmp_path / names.format("train", shard), image=encoded(rows), label=Y[rows])
    table(tmp_path / names.format("test", 0), image=encoded(slice(0, 2)), label=Y[:2])
    same(load_data(tmp_path, split="train"))
    same(load_data(tmp_path), X[:2], Y[:2])
    with pytest.raises(InputError, match="has the splits test, train; name one of them"):
        load_data(tmp_path, split="validation")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": Y}, "no column of encoded images among label; call the column of the images 'image'"),
        ({"left": [b"x"] * 6, "right": [b"x"] * 6}, "images under left, right among left, right"),
        ({"image": [b"none of it"] * 6}, r"row 0 of .*a\.parquet cannot be read as an image"),
        ({"image": [png(X[0]), png(X[1, :3])]}, r"row 0 of .* is 5x4 pixels but row 1 of .* is 5x3"),
        ({"image": [png(X[0]), png(X[1])], "label": [0, None]}, "1 of 2 images of .* have labels"),
    ],
)
def test_unusable_tables_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """The error names the file, the row and what was expected."""
    with pytest.raises(InputError, match=message):
        load_data(table(tmp_path / "a.parquet", **columns))


def test_broken_table_is_refused(tmp_path: Path) -> None:
    """A file that is no table is named; one that is not there is a usage error."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"a\.parquet cannot be read"):
        load_data(tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="no data file"):
        load_data("absent.parquet")


PEAK = """
import sys
from pathlib import Path
from ce_detect.data.files import table_rows
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
few, many = (sum(len(row[0]) for row in table_rows(Path(name))) and peak() for name in sys.argv[1:])
print(many - few)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory as Linux tells it")
def test_large_tables_do_not_stay_in_memory(tmp_path: Path) -> None:
    """A table of 96 MB in groups of 4 MB takes hardly more memory than one of 24 MB."""
    group = pa.table({"image": pa.array([bytes([i]) * 2**18 for i in range(16)], pa.binary())})
    for name, groups in (("few.parquet", 6), ("many.parquet", 24)):
        with parquet.ParquetWriter(tmp_path / name, group.schema, compression="none", use_dictionary=False) as writer:
            for _ in range(groups):
                writer.write_table(group)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "few.parquet"), str(tmp_path / "many.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000
