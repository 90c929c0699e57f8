"""Rows of a table of verdicts: those of the gate, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from support.fused import SHAPE, images, metadata, write_graph
from support.fused import resized as resized_manifest
from support.pictures import picture
from support.scans import COUNT, folder, levels, png, scanned, tables

from ce_detect import Resizing
from ce_detect.data.resizing import resized, waves
from ce_detect.runtime import Gate
from ce_detect.scan.sources import Array


@pytest.mark.parametrize("make", [folder, tables])
@pytest.mark.parametrize("uint8", [False, True])
def test_encoded_images_are_judged_as_their_pixels(
    make: Callable[[Path], Path], uint8: bool, gate: Gate, tmp_path: Path
) -> None:
    """Folders at any depth and tables give, by name, what the gate gives for the pixels, on either kind of graph."""
    other = Gate(write_graph(tmp_path, uint8=True)) if uint8 else gate
    data = make(tmp_path)
    found = scanned(other, data, tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    expected = gate((levels().transpose(0, 3, 1, 2) / 255).astype(np.float32))
    assert found.inputs == COUNT
    assert len({row["name"] for row in table}) == COUNT
    for row in table:
        if make is folder:
            i = int(row["name"].split("/")[-1].split(".")[0])
        else:
            file, number = row["name"].split(":")
            i = int(number) + (30 if file == "b.parquet" else 0)
        assert row["score"] == pytest.approx(expected.score[i], rel=1e-5)
        assert row["is_adversarial"] == expected.is_adversarial[i]


def test_photographs_of_any_size_are_judged(tmp_path: Path) -> None:
    """Where the gate knows how to resize them, each row is that of the resized image."""
    resizing = Resizing((6, 7), SHAPE[1:])
    gate = Gate(write_graph(tmp_path, said=metadata(resized_manifest(resizing))))
    sizes = [(40, 31), (9, 60), (4, 5), (100, 100)]
    for i, size in enumerate(sizes):
        picture(tmp_path / "photos" / f"{i}.png", waves(*size))
    found = scanned(gate, tmp_path / "photos", tmp_path / "out.parquet")
    scores = parquet.read_table(tmp_path / "out.parquet").column("score").to_pylist()
    assert (found.inputs, found.errors) == (4, 0)
    expected = [resized(waves(*size), resizing, "x").mean() / 255 for size in sizes]
    assert scores == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_judged_is_a_row_with_an_error(gate: Gate, tmp_path: Path) -> None:
    """Broken, oversized and unreadable images are told by name; all others are judged; grey ones become colour."""
    root = folder(tmp_path)
    (root / "class0" / "003.png").write_bytes(b"no image")
    (root / "class0" / "006.PNG").write_bytes((root / "class0" / "009.png").read_bytes()[:40])
    (root / "class0" / "012.PNG").write_bytes(png(np.zeros((9, 9, 3), np.uint8)))
    (root / "class0" / "015.png").write_bytes(png(levels()[0][:, :, 0]))
    found = scanned(gate, root, tmp_path / "out.parquet")
    rows = {row["name"]: row for row in parquet.read_table(tmp_path / "out.parquet").to_pylist()}
    errors = {name: row["error"] for name, row in rows.items() if row["error"] is not None}
    assert set(errors) == {"class0/003.png", "class0/006.PNG", "class0/012.PNG"}
    assert "cannot be read as an image" in errors["class0/003.png"]
    assert "9x9 pixels in colour, the gate takes 5x4 in colour" in errors["class0/012.PNG"]
    assert rows["class0/003.png"]["is_adversarial"] is rows["class0/003.png"]["score"] is None
    assert rows["class0/015.png"]["score"] == pytest.approx(levels()[0][:, :, 0].mean() / 255, rel=1e-5)
    assert (found.inputs, found.errors, found.passed + found.adversarial) == (COUNT, 3, COUNT - 3)
    assert found.flag_rate == found.adversarial / (COUNT - 3)
    assert found.first_error == f"class0/003.png: {errors['class0/003.png']}"


def test_floats_that_cannot_be_judged_are_rows_with_errors(gate: Gate, tmp_path: Path) -> None:
    """NaN and pixels out of bounds spoil their own row; a set of another size spoils every row, and is no crash."""
    x = images(COUNT)
    x[5, 0, 0, 0], x[20] = np.nan, x[20] * 255
    np.savez(tmp_path / "x.npz", x=x)
    assert scanned(gate, tmp_path / "x.npz", tmp_path / "out.parquet").errors == 2
    errors = parquet.read_table(tmp_path / "out.parquet").column("error").to_pylist()
    assert "NaN or infinite" in errors[5]
    assert "They look like bytes 0-255: pass x / 255" in errors[20]
    np.savez(tmp_path / "small.npz", x=x[:, :, :2])
    found = scanned(gate, tmp_path / "small.npz", tmp_path / "small.parquet")
    assert (found.errors, found.flag_rate) == (COUNT, None)


def test_few_images_are_in_memory(gate: Gate, array: Path, tmp_path: Path) -> None:
    """No more images are read than the gate judges at a time, before they are judged and let go."""
    ahead: list[int] = []

    class Noted(Array):
        def read(self, start: int, stop: int) -> Iterator[Any]:
            for read, sample in enumerate(super().read(start, stop), start + 1):
                ahead.append(read - len(judged))
                yield sample

    judged: list[int] = []
    run = gate._graph.run
    gate._graph.run = lambda x, threshold: (judged.extend(range(len(x))), run(x, threshold))[1]  # type: ignore[method-assign]
    scanned(gate, Noted(array), tmp_path / "out.parquet")
    assert (len(judged), len(ahead)) == (COUNT, COUNT)
    assert max(ahead) == gate.together
