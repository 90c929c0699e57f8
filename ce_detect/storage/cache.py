"""One content-addressed cache: arrays in files that are named after all that the arrays depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ce_detect.core.errors import CalibrationError
from ce_detect.storage import atomic

logger = logging.getLogger("ce_detect")

_CHECKSUM = "sha256"
"""Key of the metadata of a file."""

Arrays = Mapping[str, NDArray[Any]]

Shapes = Mapping[str, tuple[int | None, ...]]
"""Shape of each array by name; None where any size will do."""


def digest(**described: Any) -> str:
    """Make a key of everything that some arrays depend on.

    Args:
        described: plain data and arrays, nested as one likes; the order of names does not matter.

    Returns:
        SHA-256, in hexadecimal.
    """
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=_described).encode()).hexdigest()


def _described(value: object) -> list[Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a key is made of plain data and arrays, not of a {type(value).__name__}")
    return [value.dtype.str, value.shape, hashlib.sha256(np.asarray(value, order="C").data).hexdigest()]


class Cache:
    """Arrays on disk by key, in one room of the cache.

    Files are safetensors, which hold data and no code, and each is whole or not there at all. A file that is damaged,
    or holds something else than it should, is told by a warning and counts as missing: what it held is made anew, and
    not one byte of it is used. A checksum in its header tells; files of versions before have none, and are known by
    names and shapes alone.

    Args:
        folder: of the whole cache.
        room: subfolder for arrays of one kind.
        content: what messages call these arrays, in the plural.

    Attributes:
        folder: of the room.
    """

    def __init__(self, folder: Path, room: str, *, content: str) -> None:
        self.folder = folder / room
        self._content = content

    def path(self, key: str) -> Path:
        """File of a key, whether or not it is there."""
        return self.folder / f"{key}.safetensors"

    def holds(self, key: str, shapes: Shapes) -> bool:
        """Whether a file is there, whole and with these arrays."""
        return self.read(key, shapes) is not None

    def read(self, key: str, shapes: Shapes) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of a key, None where they are not there, or not whole."""
        path = self.path(key)
        if not path.exists():
            return None
        try:
            return _arrays(path.read_bytes(), shapes)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s in %s cannot be read (%s); they will be made again", self._content, path, error)
            return None

    def write(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under a key.

        Raises:
            OSError: the folder cannot be made or written, or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        ordered = {name: np.asarray(value, order="C") for name, value in arrays.items()}
        atomic.write(self.path(key), save(ordered, metadata={_CHECKSUM: _checksum(ordered)}))

    def get(self, key: str, shapes: Shapes, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a key; where they are not there, make them and keep them.

        Raises:
            CalibrationError: they cannot be kept.
        """
        found = self.read(key, shapes)
        if found is not None:
            return found
        made = make()
        with self.keeping():
            self.write(key, made)
        return made

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Turn a failed write in here into an error that names the folder and the remedy.

        Raises:
            CalibrationError: something could not be written.
        """
        try:
            yield
        except OSError as error:
            raise CalibrationError(
                f"cannot keep {self._content} in {self.folder}: {error}. Free some space, or name another folder in "
                "CE_DETECT_CACHE. What is done so far is kept"
            ) from error


def _arrays(content: bytes, shapes: Shapes) -> dict[str, NDArray[Any]]:
    """The arrays in a file.

    Raises:
        ValueError: others than should be there, or one of them is damaged; or see `safetensors`.
    """
    found: dict[str, NDArray[Any]] = load(content)
    if found.keys() != shapes.keys() or not all(_fits(found[name].shape, shape) for name, shape in shapes.items()):
        raise ValueError(f"arrays of other names or shapes: { {name: one.shape for name, one in found.items()} }")
    (length,) = struct.unpack("<Q", content[:8])
    told = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    if told.get(_CHECKSUM, expected := _checksum(found)) != expected:
        raise ValueError("its checksum does not match its content")
    return found


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    return digest(**{name: arrays[name] for name in sorted(arrays)})


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(
        size is None or size == here for here, size in zip(found, wanted, strict=True)
    )
