"""Datasets of single examples and batches that are already in Python."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.pictures import FLOATS, LABELS, labels_of
from support.tables import Examples, X, Y, same
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ce_detect.core.errors import InputError
from ce_detect.data import as_images, load_data


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


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "x has no images"),
        ([(X[0], 0), (X[1], None)], "1 of 2 images of x have labels"),
        ([X[0], X[1, :3]], "example 0 of x is 5x4 pixels but example 1 of x is 5x3"),
        ([X[0], np.float32(X[1])], "example 0 of x is uint8 but example 1 of x is float32"),
        ([np.zeros((3, 4, 5)), np.zeros((3, 4, 6))], r"has shape \(3, 4, 5\) but example 1 of x has \(3, 4, 6\)"),
        ([{"depth": X[0]}], "keys depth it is not known which are the images"),
        ([(X[0], 0, "a.png")], r"example 0 of x has 3 parts, expected an image or a pair.*leave the others out"),
        ([(X[0], np.array([0.5, 0.5]))], r"example 0 of x has a label of shape \(2,\), expected a class number"),
        (["text"], "example 0 of x is str, expected an image"),
        ([np.zeros((2, 3, 4, 5))], r"float64 of shape \(2, 3, 4, 5\), expected uint8 \(H, W, 1, 3 or 4\) or floats"),
    ],
)
def test_unusable_datasets_are_refused(examples: list[Any], message: str) -> None:
    """The error names the example."""
    with pytest.raises(InputError, match=message):
        as_images(Examples(examples))


def test_one_hot_labels_are_class_numbers() -> None:
    """Arrays, tensors and lists with a single 1 are read as its position, beside images of any kind."""
    labels = [np.array([0, 1, 0]), torch.tensor([1.0, 0.0, 0.0]), [0, 0, 1]]
    examples = [(Image.fromarray(X[0]), label) for label in labels]
    assert labels_of(as_images(Examples(examples))) == [1, 0, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((FLOATS, np.arange(len(FLOATS))), "x is a pair of images and labels; pass x and y apart"),
        ([np.zeros((3, 4, 5), np.float32)] * 2, r"shape \(3, 4, 5\), which is one image.*numpy\.stack\(images\)"),
        ((np.zeros((1, 4, 5), np.float32) for _ in range(2)), "batch 0 of x.*DataLoader"),
    ],
)
def test_what_is_nearly_right_says_what_is(given: Any, message: str) -> None:
    """Pairs of arrays and single images: the error is the remedy."""
    with pytest.raises(InputError, match=message):
        as_images(given)


def test_sparse_tensors_are_taken() -> None:
    """They hold the same pixels."""
    np.testing.assert_array_equal(as_images(torch.from_numpy(FLOATS).to_sparse()).x, FLOATS)


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
