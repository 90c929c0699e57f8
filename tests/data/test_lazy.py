"""Rows that are read only when they are asked for."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ce_detect.core.errors import InputError
from ce_detect.data import Concatenated, Lazy, Mapped, as_images, chunks, load_data, rows

FLOATS = np.random.default_rng(0).uniform(size=(23, 3, 4, 5)).astype(np.float32)
GREY = np.random.default_rng(0).integers(0, 256, (23, 4, 5), np.uint8)
Y = np.arange(23) % 4


def lazies() -> dict[str, Lazy]:
    """Every kind of lazy rows, all standing for ``FLOATS``."""
    doubled = Mapped(FLOATS * 2, lambda x: x / 2)
    return {
        "mapped": doubled,
        "rows": rows(np.concatenate([FLOATS[::-1], FLOATS]), np.arange(23, 46)),  # type: ignore[dict-item]
        "rows of rows": rows(rows(doubled, np.arange(23)), slice(None)),  # type: ignore[dict-item]
        "concatenated": Concatenated([FLOATS[:7], rows(doubled, slice(7, 8)), FLOATS[8:8], FLOATS[8:]]),
    }


@pytest.mark.parametrize("name", lazies())
@pytest.mark.parametrize(
    "index",
    [slice(None), slice(3, 17, 4), slice(20, 99), [5, 2, 2, -1], np.arange(23) % 3 == 1, np.array([], int), 4],
    ids=str,
)
def test_lazy_rows_equal_the_array(name: str, index: Any) -> None:
    """Any index that NumPy takes for rows gives what NumPy gives."""
    lazy = lazies()[name]
    assert lazy.shape == FLOATS.shape
    assert len(lazy) == 23
    np.testing.assert_array_equal(lazy[index], FLOATS[index])
    np.testing.assert_array_equal(np.asarray(lazy), FLOATS)


def test_chunks_cover_all_rows_in_order() -> None:
    """Of the size asked for, but for the last."""
    for x in (FLOATS, lazies()["concatenated"]):
        parts = list(chunks(x, 10))
        assert [len(part) for part in parts] == [10, 10, 3]
        np.testing.assert_array_equal(np.concatenate(parts), FLOATS)


@pytest.mark.usefixtures("_nothing_fits")
def test_files_that_end_early_are_refused(tmp_path: Path) -> None:
    """Before anything is calibrated where the header tells, and in any case when the rows are read."""
    np.save(tmp_path / "a.npy", FLOATS)
    whole = (tmp_path / "a.npy").read_bytes()
    images = load_data(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="became shorter while it was being read"):
        _ = images.x
    with pytest.raises(InputError, match=r"a\.npy cannot be read: it ends before its 23 images do"):
        load_data(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
        file.writestr("x.npy", whole[:-100])
    with pytest.raises(InputError, match=r"b\.npz cannot be read"):
        load_data(tmp_path / "b.npz")


def sources(folder: Path) -> dict[str, Any]:
    """The same grey images from every kind of source that may be large."""
    np.save(folder / "grey.npy", GREY)
    np.savez(folder / "plain.npz", x=GREY, y=Y)
    np.savez_compressed(folder / "packed.npz", x=GREY, y=Y)
    np.save(folder / "fortran.npy", np.asfortranarray(GREY))
    np.save(folder / "double.npy", GREY[:, None] / 255)
    np.save(folder / "foreign.npy", (GREY[:, None] / 255).astype(">f4"))
    floats = torch.from_numpy(GREY[:, None] / np.float32(255))
    return {
        **{path.name: path for path in folder.iterdir()},
        "loader": DataLoader(TensorDataset(floats, torch.from_numpy(Y)), batch_size=5),
        "dataset": TensorDataset(floats, torch.from_numpy(Y)),
        "array": floats.numpy().astype(np.float64),
    }


@pytest.mark.usefixtures("_nothing_fits")
def test_large_sources_equal_small_ones(tmp_path: Path) -> None:
    """What is read from disk, in any part and order, is what would have been in memory."""
    expected = np.divide(GREY[:, None], 255, dtype=np.float32)
    for name, source in sources(tmp_path).items():
        images = as_images(source)
        assert not isinstance(images.pixels, np.ndarray), name
        np.testing.assert_allclose(images.x, expected, rtol=1e-6, err_msg=name)
        assert images.x.dtype == np.float32
        part = images.subset([22, 0, 1, 2, 7])
        np.testing.assert_allclose(part.pixels[1:4], expected[:3], rtol=1e-6)
        if images.y is not None:
            assert part.y is not None
            assert part.y.tolist() == Y[[22, 0, 1, 2, 7]].tolist()
        assert len(as_images(source, limit=4)) == 4
