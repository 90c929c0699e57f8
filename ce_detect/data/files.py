"""Images in files: arrays, folders of class folders, and parquet."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ce_detect.core.errors import CeDetectError, InputError
from ce_detect.core.extras import module
from ce_detect.data.columns import chosen
from ce_detect.data.decoding import Stack
from ce_detect.data.images import Images, gathered, labels
from ce_detect.data.lazy import Stored
from ce_detect.data.spool import Spool, fits

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""Of image files."""

_BLOCK = 4 * 2**20  # bytes that are unpacked at a time
_ROWS = 64  # rows of a table that are read at a time
_PLAIN = (
    "Object arrays and pickles are refused because loading one runs code; "
    "write plain arrays with numpy.savez_compressed(path, x=x, y=y)"
)


def demo(limit: int | None) -> Images:
    """Return the packaged Fashion-MNIST test images."""
    with (files("ce_detect.demo") / "assets" / "fashion_images.npz").open("rb") as file, np.load(file) as stored:
        return gathered(stored["x"], stored["y"], "demo", limit)


def from_npz(path: Path, split: str | None, limit: int | None) -> Images:
    """Read ``x`` and ``y``, or the pair of a split; see `ce_detect.load_data`."""
    plain = [("x", "y")] if split is None else []
    part = split or "test"
    pairs = [*plain, (f"x_{part}", f"y_{part}"), (f"{part}_images", f"{part}_labels")]
    with _reading(path, _PLAIN) as file:
        stored = np.load(file, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            right = path.with_suffix(".npy").name
            raise InputError(f"{path} holds a single array, as .npy files do; rename it to {right}")
        for x_name, y_name in pairs:
            if x_name in stored:
                with zipfile.ZipFile(file).open(f"{x_name}.npy") as member:
                    x, count = _unpacked(member, limit)
                y = stored.get(y_name)
                return gathered(x, None if y is None else labels(y, count, str(path))[:limit], str(path))
        raise InputError(
            f"{path} has the keys {', '.join(stored.files) or '(none)'}, "
            f"expected images under {' or '.join(name for name, _ in pairs)}; save them so or name the split"
        )


def from_npy(path: Path, limit: int | None) -> Images:
    """Read images without labels, or leave them in the file where they are large."""
    with _reading(path, _PLAIN) as file:
        if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            file.seek(0)
            np.load(file, allow_pickle=False)
            right = path.with_suffix(".npz").name
            raise InputError(f"{path} holds arrays by name, as .npz files do; rename it to {right}")
        file.seek(0)
        shape, fortran, dtype = _header(file)
        if fits(shape) or fortran or dtype.hasobject:
            file.seek(0)
            return gathered(_unpacked(file, limit)[0], None, str(path))
        if path.stat().st_size < file.tell() + int(np.prod(shape)) * dtype.itemsize:
            raise ValueError(f"it ends before its {shape[0]} images do")
        return gathered(Stored(path.open("rb"), dtype, shape, file.tell()), None, str(path), limit)


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of an array in NumPy's own format."""
    version = npy.read_magic(stream)
    read: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype


def _unpacked(stream: Any, limit: int | None) -> tuple[NDArray[Any] | Stored, int]:
    """The first rows of an array in NumPy's own format, unpacked bit by bit, and how many rows it has in all."""
    shape, fortran, dtype = _header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if fortran or not shape or 0 in shape:
        whole = np.frombuffer(stream.read(), dtype).reshape(shape, order="F" if fortran else "C")
        return whole[:limit] if shape else whole, len(whole) if shape else 0
    row = int(np.prod(shape[1:])) * dtype.itemsize
    wanted, spool = min(shape[0], limit or shape[0]), Spool()
    block = max(1, _BLOCK // row)
    for start in range(0, wanted, block):
        count = min(block, wanted - start)
        spool.append(np.frombuffer(stream.read(count * row), dtype).reshape(count, *shape[1:]))
    rows = spool.gathered()
    assert rows is not None
    return rows, shape[0]


@contextmanager
def _reading(path: Path, remedy: str) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:  # numpy.load leaves a broken zip open if it opened it itself
            yield file
    except CeDetectError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}. {remedy}") from error


def from_folder(root: Path, limit: int | None, stack: Stack) -> Images:
    """Read a folder of class folders, or of images without labels; see `ce_detect.load_data`."""
    for path, label in _in_turn(root, limit):
        stack.append(path, label, str(path))
    return stack.images(str(root))


def from_image(path: Path, stack: Stack) -> Images:
    """Read one image file; see `ce_detect.load_data`."""
    stack.append(path, None, str(path))
    return stack.images(str(path))


def _in_turn(root: Path, limit: int | None) -> list[tuple[Path, int | None]]:
    """Paths and labels of the images, one of each class in turn; labels are None where there are no class folders."""
    classes = _folders_in(root)
    found = [
        (rank, label, path) for label, folder in enumerate(classes) for rank, path in enumerate(_images_in(folder))
    ]
    loose = _images_in(root)
    if loose and found:
        raise InputError(
            f"{root} holds {len(loose)} images beside {len(classes)} class folders, first {loose[0].name}; "
            "move them into class folders, or out"
        )
    if loose:
        return [(path, None) for path in loose[:limit]]
    if not found:
        splits = [folder.name for folder in classes if any(_images_in(inner) for inner in _folders_in(folder))]
        raise InputError(
            f"{root} holds class folders within {', '.join(splits)}; name one of these: {root / splits[0]}"
            if splits
            else f"{root} holds {len(classes)} class folders with no image in them, expected "
            f"{root / '<class>' / '<image>.png'}, or images without labels; read are {', '.join(sorted(SUFFIXES))}"
        )
    return [(path, label) for _, label, path in sorted(found)[:limit]]


def _folders_in(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def tables(root: Path) -> list[Path]:
    """Parquet files of a folder, at any depth."""
    return sorted(root.rglob("*.parquet"))


def from_parquet(path: Path, split: str | None, limit: int | None, stack: Stack) -> Images:
    """Read a table of encoded images, or a folder of such tables in the layout of the Hugging Face hub."""
    left = limit
    for table in _of_split(path, split):
        for row, (value, *label) in enumerate(islice(table_rows(table), left)):
            stack.append(value, label[0] if label else None, f"row {row} of {table}")
            left = None if left is None else left - 1
    return stack.images(str(path))


def table_rows(table: Path, start: int = 0) -> Iterator[tuple[Any, ...]]:
    """Yield the encoded image of each row of a table and, where there are labels, its label.

    Args:
        table: a parquet file; it is read a few rows at a time.
        start: rows to leave out; whole groups of them are not read.

    Raises:
        InputError: it cannot be read, or has no column of encoded images.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = _parquet()
    with _reading(table, "Copy or download it again; encoded images are expected in a column") as file:
        opened = parquet.ParquetFile(file, buffer_size=_BLOCK, pre_buffer=False)  # or all that was read stays in memory
        columns = _columns(opened.schema_arrow, table)
        group, position = 0, 0
        while group < opened.num_row_groups and position + opened.metadata.row_group(group).num_rows <= start:
            position += opened.metadata.row_group(group).num_rows
            group += 1
        groups = range(group, opened.num_row_groups)
        for batch in opened.iter_batches(_ROWS, row_groups=groups, columns=columns):
            values = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
            yield from islice(values, max(0, start - position), None)
            position += batch.num_rows


def count_rows(table: Path) -> int:
    """Return the number of rows of a parquet file.

    Raises:
        InputError: it cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = _parquet()
    with _reading(table, "Copy or download it again") as file:
        return int(parquet.ParquetFile(file).metadata.num_rows)


def _parquet() -> Any:
    return module("pyarrow.parquet", "Reading parquet files")


def _of_split(path: Path, split: str | None) -> list[Path]:
    """Files of one split: ``train-00000-of-00002.parquet`` or ``train/0000.parquet``."""
    if path.is_file():
        if split is not None and _split_of(path) != split:
            raise InputError(f"split {split!r} was asked for, but {path} is a single file; leave the split out")
        return [path]
    by_split: dict[str, list[Path]] = {}
    for table in tables(path):
        by_split.setdefault(_split_of(table), []).append(table)
    wanted = split or ("test" if "test" in by_split else next(iter(by_split)))
    if wanted not in by_split or (split is None and len(by_split) > 1 and wanted != "test"):
        raise InputError(f"{path} has the splits {', '.join(by_split)}; name one of them")
    return by_split[wanted]


def _split_of(table: Path) -> str:
    numbered = re.fullmatch(r"(.+)-\d+-of-\d+", table.stem)
    return numbered[1] if numbered else table.parent.name if table.stem.isdigit() else table.stem


def _columns(schema: Any, table: Path) -> list[str]:
    """Names of the columns of images and, where there is one, of labels."""
    from pyarrow import types

    def encoded(kind: Any) -> bool:
        has_bytes = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        return bool(has_bytes or types.is_binary(kind) or types.is_large_binary(kind))

    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    images = [field.name for field in schema if encoded(field.type)]
    numbers = {field.name for field in schema if types.is_integer(field.type)}
    classes = [name for name in schema.names if described.get(name, {}).get("_type") == "ClassLabel"]
    return chosen(schema.names, images, [name for name in schema.names if name in numbers], classes, str(table))
