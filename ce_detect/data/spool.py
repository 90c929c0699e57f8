"""Arrays that come bit by bit: kept in memory while they are small, in a temporary file beyond that."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import CalibrationError
from ce_detect.data.lazy import Stored
from ce_detect.storage.folders import cache_folder

IN_MEMORY = 32 * 2**20
"""Bytes, as float32, up to which images are kept in memory."""


def fits(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is small enough to be kept in memory."""
    return 4 * int(np.prod(shape, dtype=np.int64)) <= IN_MEMORY


class Spool:
    """Gathers rows of one shape and type."""

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []
        self._file: Any = None
        self._count = 0

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows ``(n, ...)`` behind those that are there.

        Raises:
            CalibrationError: they do not fit in memory, and not on the disk either.
        """
        self._count += len(rows)
        self._parts.append(rows)
        if self._file is not None or not fits((self._count, *rows.shape[1:])):
            self._write()

    def gathered(self) -> NDArray[Any] | Stored | None:
        """Return all rows, as an array or as what reads them from the temporary file; None where there are none."""
        if self._file is None:
            return np.concatenate(self._parts) if self._parts else None
        with _room():
            self._file.flush()
        return Stored(self._file, self._dtype, (self._count, *self._shape))

    def _write(self) -> None:
        with _room():
            if self._file is None:
                cache_folder().mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=cache_folder())  # noqa: SIM115  `Stored` closes it
                self._dtype, self._shape = self._parts[0].dtype, self._parts[0].shape[1:]
            for part in self._parts:
                self._file.write(np.ascontiguousarray(part).data)
        self._parts = []


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CalibrationError(
            f"the images are too large for memory and cannot be kept in {cache_folder()}: {error}. "
            "Free some space, or name another folder in CE_DETECT_CACHE"
        ) from error
