"""Datasets of single examples, and tables of encoded images in the layout of the Hugging Face hub."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ce_detect.core.errors import InputError, UsageError
from ce_detect.data import Images, as_images, load_data

X = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
Y = [0, 1, 2, 0, 1, 2]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode one image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def same(images: Images, x: NDArray[np.uint8] = X, y: list[int] | None = Y) -> None:
    """Check pixels, labels and bounds against channels-last grey levels."""
    np.testing.assert_array_equal(images.x, np.float32(x.transpose(0, 3, 1, 2)) / np.float32(255))
    assert (None if images.y is None else images.y.tolist()) == y
    assert images.bounds == (0.0, 1.0)


# --- parquet


def table(path: Path, *, features: dict[str, Any] | None = None, **columns: Any) -> Path:
    """Write a table, with the description that Hugging Face adds where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table(columns)
    if features is not None:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(made, path)
    return path


def encoded(rows: slice = slice(None)) -> list[dict[str, Any]]:
    """Images as the hub stores them."""
    return [{"bytes": png(pixels), "path": f"{number}.png"} for number, pixels in enumerate(X[rows])]


def test_table_of_the_hub(tmp_path: Path) -> None:
    """A struct of bytes and path beside integer labels; columns of other meaning are passed over."""
    path = table(tmp_path / "a.parquet", id=[9] * 6, image=encoded(), label=Y, caption=["x"] * 6)
    same(load_data(path))
    same(load_data(path, limit=4), X[:4], Y[:4])


def test_table_of_plain_bytes_without_labels(tmp_path: Path) -> None:
    """The only column of bytes holds the images, whatever its name."""
    same(load_data(table(tmp_path / "a.parquet", picture=[png(pixels) for pixels in X])), y=None)


def test_described_columns_win(tmp_path: Path) -> None:
    """A column that Hugging Face describes as classes holds the labels, whatever its name; −1 stands for none."""
    features = {"kind": {"_type": "ClassLabel"}, "image": {"_type": "Image"}}
    same(load_data(table(tmp_path / "a.parquet", features=features, image=encoded(), kind=Y)))
    hidden = table(tmp_path / "b.parquet", image=encoded(), label=[-1] * 6)
    same(load_data(hidden), y=None)


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


# --- PyTorch


class Examples(Dataset[Any]):
    """Single examples by number, without an end of their own."""

    def __init__(self, examples: list[Any]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        return self.examples[index % len(self.examples)]


class Stream(IterableDataset[Any]):
    """The same, one after the other."""

    def __init__(self, examples: list[Any]) -> None:
        self.examples = examples

    def __iter__(self) -> Any:
        return iter(self.examples)


@pytest.mark.parametrize("kind", [Examples, Stream])
@pytest.mark.parametrize("form", ["pillow", "last", "first", "mapping"])
def test_datasets_of_grey_levels(kind: Any, form: str) -> None:
    """Pillow images and uint8 pixels in either layout, in pairs or mappings, are scaled as files are."""
    made = {
        "pillow": lambda x, y: (Image.fromarray(x), y),
        "last": lambda x, y: (x, torch.tensor(y)),
        "first": lambda x, y: (torch.from_numpy(x.transpose(2, 0, 1).copy()), np.int64(y)),
        "mapping": lambda x, y: {"img": Image.fromarray(x), "label": y, "id": 7},
    }[form]
    same(as_images(kind([made(x, y) for x, y in zip(X, Y, strict=True)])))


def test_dataset_of_floats_keeps_its_values() -> None:
    """A transform that gives floats (C, H, W) is taken at its word, as in a loader."""
    floats = torch.linspace(-2, 2, 6 * 3 * 4 * 5).view(6, 3, 4, 5)
    for x in (TensorDataset(floats, torch.tensor(Y)), DataLoader(TensorDataset(floats, torch.tensor(Y)), 4)):
        images = as_images(x)
        np.testing.assert_array_equal(images.x, floats.numpy())
        assert images.y is not None
        assert images.y.tolist() == Y
        assert images.bounds is None


def test_loader_of_mappings() -> None:
    """Batches may be mappings with the usual names."""
    floats = np.float32(X.transpose(0, 3, 1, 2))
    images = as_images([{"pixel_values": floats[:4], "labels": Y[:4]}, {"pixel_values": floats[4:], "labels": Y[4:]}])
    np.testing.assert_array_equal(images.x, floats)
    assert images.y is not None
    assert images.y.tolist() == Y


def test_grey_among_colour_becomes_colour() -> None:
    """As soon as one image is in colour all are, in whatever order they come."""
    grey = X[:, :, :, :1]
    expected = np.concatenate([np.repeat(grey[:2], 3, axis=3), X[2:3], np.repeat(grey[3:], 3, axis=3)])
    same(as_images(Examples([grey[0], grey[1], X[2], *grey[3:]])), expected, None)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "x has no images"),
        ([(X[0], 0), (X[1], None)], "1 of 2 images of x have labels"),
        ([X[0], X[1, :3]], "example 0 of x is 5x4 pixels but example 1 of x is 5x3"),
        ([X[0], np.float32(X[1])], "example 0 of x is uint8 but example 1 of x is float32"),
        ([np.zeros((3, 4, 5)), np.zeros((3, 4, 6))], r"has shape \(3, 4, 5\) but example 1 of x has \(3, 4, 6\)"),
        ([{"depth": X[0]}], "keys depth it is not known which are the images"),
        (["text"], "example 0 of x is str, expected an image"),
        ([np.zeros((2, 3, 4, 5))], r"float64 of shape \(2, 3, 4, 5\), expected uint8 \(H, W, 1 or 3\) or floats"),
    ],
)
def test_unusable_datasets_are_refused(examples: list[Any], message: str) -> None:
    """The error names the example."""
    with pytest.raises(InputError, match=message):
        as_images(Examples(examples))


# --- Hugging Face


class Feature:
    """What a column of a Hugging Face dataset holds, known by the name of its class."""


class Hub:
    """A dataset of the form that the `datasets` package gives."""

    def __init__(self, features: dict[str, str], examples: list[dict[str, Any]]) -> None:
        self.features = {name: type(kind, (Feature,), {})() for name, kind in features.items()}
        self.column_names = list(features)
        self.examples = examples

    def __iter__(self) -> Any:
        return iter(self.examples)


def test_hub_dataset_by_its_features() -> None:
    """Images and classes are found by their features, whatever the columns are called."""
    examples = [{"n": 3, "photo": Image.fromarray(x), "sort": y} for x, y in zip(X, Y, strict=True)]
    same(as_images(Hub({"n": "Value", "photo": "Image", "sort": "ClassLabel"}, examples)))
    same(as_images(Hub({"n": "Value", "photo": "Image", "sort": "Value"}, examples)), y=None)
    with pytest.raises(InputError, match="labels were passed twice"):
        as_images(Hub({"photo": "Image", "sort": "ClassLabel"}, examples), Y)


@pytest.mark.skipif(
    os.environ.get("CE_DETECT_OPT_IN") != "1", reason="needs the package datasets: set CE_DETECT_OPT_IN=1"
)
def test_real_hub_datasets(tmp_path: Path) -> None:
    """Datasets of the `datasets` package, mapped, streamed, formatted and written to parquet, all give the same."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    made = datasets.Dataset.from_dict({"image": [Image.fromarray(x) for x in X], "label": Y}, features=features)
    for form in (made, made.to_iterable_dataset(), made.with_format("numpy"), made.with_format("torch")):
        same(as_images(form))
    made.to_parquet(tmp_path / "a.parquet")
    same(load_data(tmp_path / "a.parquet"))
    with pytest.raises(InputError, match=r"x is DatasetDict.*pass one of its parts, train, test"):
        as_images(datasets.DatasetDict({"train": made, "test": made}))
