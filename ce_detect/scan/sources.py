"""Images in the order in which they are scanned, each with its name, read a few at a time from any position."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib.resources import files as packaged
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError, UsageError
from ce_detect.core.extras import module
from ce_detect.data import files, load_data
from ce_detect.data.decoding import decoded

Sample = tuple[str, NDArray[Any] | InputError]
"""Name and pixels, uint8 ``(H, W, 1, 3 or 4)`` or floats ``(C, H, W)``; in their place why they cannot be read."""

_ROWS = 64  # of an array that are read at a time


class Source(ABC):
    """Images in a fixed order.

    Attributes:
        fingerprint: SHA-256 of names, sizes and times of change of the files, in hexadecimal.

    Args:
        root: what names are relative to.
        paths: files that hold the images.
    """

    def __init__(self, root: Path, paths: Iterable[Path]) -> None:
        digest = hashlib.sha256()
        for path in paths:
            known = path.stat()
            digest.update(f"{path.relative_to(root).as_posix()} {known.st_size} {known.st_mtime_ns}\n".encode())
        self.fingerprint = digest.hexdigest()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """Yield the images from one position up to another.

        Raises:
            InputError: a file that holds many images cannot be read.
        """


class Folder(Source):
    """Image files of a folder, at any depth, by name; hidden ones are left out."""

    def __init__(self, root: Path) -> None:
        module("PIL", "Reading image files", extra="scan")  # now, not at the first image
        self._root = root
        self._names = sorted(
            name
            for name in (path.relative_to(root).as_posix() for path in root.rglob("*"))
            if Path(name).suffix.lower() in files.SUFFIXES and not any(part[0] == "." for part in name.split("/"))
        )
        if not self._names:
            raise InputError(f"{root} holds no image, at any depth; read are {', '.join(sorted(files.SUFFIXES))}")
        super().__init__(root, (root / name for name in self._names))

    def __len__(self) -> int:
        return len(self._names)

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """Yield the images; one that cannot be decoded is an error in its place."""
        for name in self._names[start:stop]:
            yield name, _decoded(self._root / name, name)


class Tables(Source):
    """Rows of parquet files with a column of encoded images; named by file and row."""

    def __init__(self, root: Path, paths: list[Path]) -> None:
        super().__init__(root, paths)
        self._names = [path.relative_to(root).as_posix() for path in paths]
        self._paths = paths
        self._ends = list(accumulate(files.count_rows(path) for path in paths))
        self._rows: Iterator[tuple[str, Any]] = iter(())
        self._next = -1
        if not len(self):
            raise InputError(f"{root} holds {len(paths)} parquet files without rows, expected at least one image")

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """Yield the images; one that cannot be decoded is an error in its place."""
        if start != self._next:  # a table is read forwards: going on where the last call ended costs nothing
            self._rows = self._from(start)
        self._next = stop
        for name, value in islice(self._rows, stop - start):
            yield name, _decoded(value, name)

    def _from(self, start: int) -> Iterator[tuple[str, Any]]:
        for name, path, first, end in zip(self._names, self._paths, [0, *self._ends], self._ends, strict=False):
            if start < end:
                skipped = max(0, start - first)
                for row, (value, *_) in enumerate(files.table_rows(path, skipped), skipped):
                    yield f"{name}:{row}", value


class Array(Source):
    """Images of a ``.npz`` or ``.npy`` file; named by file and position."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent, [path])
        self._name = path.name
        images = load_data(path)
        self._pixels = images.pixels
        self._levels = images.bounds is not None  # they were uint8

    def __len__(self) -> int:
        return len(self._pixels)

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """Yield the images."""
        for first in range(start, stop, _ROWS):
            for position, image in enumerate(self._pixels[first : min(first + _ROWS, stop)], first):
                yield f"{self._name}:{position}", _grey_levels(image) if self._levels else image


def opened(spec: str | Path) -> Source:
    """Open what is to be scanned.

    Args:
        spec: a folder of image files or of parquet files, at any depth; a ``.parquet``, ``.npz`` or ``.npy`` file, see
            `ce_detect.load_data`; or ``demo``, the images that come with ce-detect.

    Raises:
        UsageError: nothing of the kind.
        InputError: it cannot be read, or holds no images.
        MissingExtraError: what reads it is not installed.
    """
    path = Path(spec)
    if str(spec) == "demo":
        return Array(Path(str(packaged("ce_detect.demo") / "assets" / "fashion_images.npz")))
    if path.is_dir():
        tables = files.tables(path)
        return Tables(path, tables) if tables else Folder(path)
    if path.is_file() and path.suffix == ".parquet":
        return Tables(path.parent, [path])
    if path.is_file() and path.suffix in {".npz", ".npy"}:
        return Array(path)
    raise UsageError(
        f"{str(spec)!r} is nothing that can be scanned; expected a folder of .png, .jpg or .parquet files, a .parquet, "
        ".npz or .npy file that exists, or 'demo'"
    )


def _decoded(value: Any, name: str) -> NDArray[Any] | InputError:
    try:
        return decoded(value, name)
    except InputError as error:
        return error


def _grey_levels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(255 * image).astype(np.uint8).transpose(1, 2, 0)
