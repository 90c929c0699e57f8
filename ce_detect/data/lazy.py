"""Images that may be larger than memory: rows are read, converted and put together only when they are asked for.

`Pixels` is what the other rooms take: an array, or `Lazy` rows.
"""

from __future__ import annotations

import math
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ce_detect.core.errors import InputError
from ce_detect.core.types import Floats, Index

MOST_VALUES = 2_500_000
"""Pixel values in a batch, at most: hidden feature maps of large images would take gigabytes."""

Selection = slice | Sequence[int] | NDArray[Any]


class Pixels(Protocol):
    """Images ``(n, C, H, W)`` in float32: a NumPy array, or what gives one when rows are taken from it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, C, H, W)``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return the images at a position, a slice, positions or a mask ``(n,)`` of bools, as an array."""


class Lazy(ABC):
    """Rows that are not in memory; ``numpy.asarray`` reads them all.

    Attributes:
        shape: of the array that they would make, rows first.
        dtype: of that array.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        positions = _positions(index, len(self))
        found = self._read(np.atleast_1d(positions))
        return found if positions.ndim else found[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    @abstractmethod
    def _read(self, positions: Index) -> NDArray[Any]:
        """Return an array of the rows at ``positions``."""


class Stored(Lazy):
    """Rows in a file. They are read, not mapped, so that they leave memory when the caller is done with them.

    Args:
        file: is closed when this object goes.
        dtype: of the values.
        shape: of all rows.
        offset: bytes before the first row.
    """

    def __init__(self, file: BinaryIO, dtype: DTypeLike, shape: tuple[int, ...], offset: int = 0) -> None:
        super().__init__(shape, dtype)
        self._file: Any = file
        self._offset = offset
        self._lock = threading.Lock()
        weakref.finalize(self, file.close)

    def _read(self, positions: Index) -> NDArray[Any]:
        out = np.empty((len(positions), *self.shape[1:]), self.dtype)
        size = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        ends = [*(np.flatnonzero(np.diff(positions) != 1) + 1), len(positions)] if len(positions) else []
        with self._lock:
            for start, end in pairwise([0, *ends]):
                self._file.seek(self._offset + int(positions[start]) * size)
                if self._file.readinto(out[start:end].reshape(-1).view(np.uint8)) != (end - start) * size:
                    raise InputError("a file of images became shorter while it was being read; start again")
        return out


class Mapped(Lazy):
    """Rows of a source with a function applied to them as they are read.

    Args:
        source: an array or `Lazy` rows.
        function: array of some rows to array of as many rows.
        shape: of the result; by default that of the source.
    """

    def __init__(
        self, source: Pixels, function: Callable[[NDArray[Any]], NDArray[Any]], shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(shape or source.shape)
        self._source = source
        self._function = function

    def _read(self, positions: Index) -> NDArray[Any]:
        return self._function(self._source[positions])


class Rows(Lazy):
    """Some rows of a source.

    Args:
        source: an array or `Lazy` rows.
        index: which rows: a slice, positions or a mask.
    """

    def __init__(self, source: Pixels, index: Selection) -> None:
        self._index = _positions(index, len(source))
        super().__init__((len(self._index), *source.shape[1:]), source.dtype)
        self._source = source

    def _read(self, positions: Index) -> NDArray[Any]:
        found: NDArray[Any] = self._source[self._index[positions]]
        return found


class Concatenated(Lazy):
    """Sources of equal image shape, one after the other.

    Args:
        parts: arrays or `Lazy` rows, one at least.
    """

    def __init__(self, parts: Sequence[Pixels]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        super().__init__((int(self._ends[-1]), *parts[0].shape[1:]))

    def _read(self, positions: Index) -> NDArray[Any]:
        out = np.empty((len(positions), *self.shape[1:]), np.float32)
        which = np.searchsorted(self._ends, positions, side="right")
        for number in np.unique(which):
            mine, part = which == number, self._parts[number]
            out[mine] = part[positions[mine] - (self._ends[number] - len(part))]
        return out


def _positions(index: Any, count: int) -> Index:
    """Positions that an index selects among ``count`` rows; they take no more memory than there are of them.

    Raises:
        IndexError: it is out of range.
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(count), dtype=np.int64)
    given = np.asarray(index)
    chosen: Index = np.arange(count)[given] if given.dtype == np.bool_ else given.astype(np.int64)
    if chosen.size and not -count <= chosen.min() <= chosen.max() < count:
        raise IndexError(f"rows {chosen.min()} to {chosen.max()} were asked for, of {count}")
    positions: Index = np.where(chosen < 0, chosen + count, chosen)
    return positions


def rows(x: Pixels, index: Selection) -> Pixels:
    """Return some rows without reading them yet."""
    return x[index] if isinstance(x, np.ndarray) and isinstance(index, slice) else Rows(x, index)


def chunks(x: Pixels, size: int) -> Iterator[Floats]:
    """Yield arrays of ``size`` consecutive images; the last may be smaller."""
    for start in range(0, len(x), size):
        yield x[start : start + size]


def batch_size(most: int, input_shape: tuple[int, ...]) -> int:
    """How many inputs to judge at a time: ``most``, or fewer where they are large."""
    return max(1, min(most, MOST_VALUES // math.prod(input_shape)))
