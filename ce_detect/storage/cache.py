"""One content-addressed cache: arrays in files that are named after all that the arrays depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from ce_detect.core.errors import CalibrationError
from ce_detect.storage import atomic

logger = logging.getLogger("ce_detect")

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
    or holds something else than it should, is told by a warning and counts as missing.

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
        """Whether a file is there, whole and with these arrays; only its header is read."""
        path = self.path(key)
        if not path.exists():
            return False
        problem = _problem(path, shapes)
        if problem is not None:
            logger.warning("%s in %s cannot be read (%s); they will be made again", self._content, path, problem)
        return problem is None

    def read(self, key: str, shapes: Shapes) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of a key, None where they are not there; see `holds`."""
        if not self.holds(key, shapes):
            return None
        found: dict[str, NDArray[Any]] = load(self.path(key).read_bytes())
        return found

    def write(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under a key.

        Raises:
            OSError: the folder cannot be made or written, or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic.write(self.path(key), save({name: np.asarray(value, order="C") for name, value in arrays.items()}))

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


def _problem(path: Path, shapes: Shapes) -> str | None:
    """What is wrong with a file, by its header and its length; None where nothing is."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, OSError) as error:
        return repr(error)
    fits = found.keys() == shapes.keys() and all(_fits(found[name], shape) for name, shape in shapes.items())
    return None if fits else f"arrays of other names or shapes: {found}"


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(
        size is None or size == here for here, size in zip(found, wanted, strict=True)
    )
