"""Image files, their bytes and single examples, stacked to arrays of one size."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.core.extras import module
from ce_detect.core.resizing import Resizing
from ce_detect.data.images import CHANNELS, Images, Originals, array, gathered
from ce_detect.data.lazy import chunks
from ce_detect.data.resizing import resized
from ce_detect.data.spool import Spool

_GREY_MODES = frozenset({"1", "L", "LA"})
_DEEP_MODES = ("I", "F")  # Pillow's modes of more than 8 bits a channel: I, I;16, I;16B, F


class Stack:
    """Gathers single images of one size; grey ones get three channels as soon as there is one in colour.

    Args:
        resizing: what brings images of 8 bits to that size; None where they have it.
        originals: keep what was resized, too.
    """

    def __init__(self, resizing: Resizing | None = None, *, originals: bool = False) -> None:
        self._resizing = resizing
        self._originals: list[Callable[[], NDArray[Any]]] | None = [] if originals and resizing is not None else None
        self._spool = Spool()
        self._first: tuple[str, NDArray[Any]] | None = None
        self._labels: list[Any] = []
        self._count = 0

    def append(self, value: Any, label: Any, name: str) -> None:
        """Add an image and its label.

        Args:
            value: path or bytes of an image file, a mapping with ``bytes`` and ``path``, a Pillow image, or an array or
                tensor: uint8 ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)`` of 1, 3 or 4 channels, or floats ``(C, H, W)``.
            label: a class number, or None.
            name: what errors call the image.

        Raises:
            InputError: it cannot be read as an image, or differs in size or type from the first.
        """
        image = decoded(value, name)
        if self._resizing is not None and image.dtype == np.uint8:
            image = resized(image, self._resizing, name)
        if self._first is not None:
            image = self._alike(image, name)
        self._first = self._first or (name, image)
        self._spool.append(image[None])
        self._count += 1
        if self._originals is not None:
            self._originals.append(partial(decoded, value, name))
        if label is not None:
            self._labels.append(_class_number(label, name))

    def images(self, origin: str) -> Images:
        """Return all that was added.

        Raises:
            InputError: nothing was added, or only some images have labels.
        """
        rows = self._spool.gathered()
        if rows is None:
            raise InputError(f"{origin} has no images, expected at least one")
        if len(self._labels) not in {0, self._count}:
            raise InputError(
                f"{len(self._labels)} of {self._count} images of {origin} have labels, expected all or none"
            )
        known = any(label != -1 for label in self._labels)  # Hugging Face hides the labels of a test split as -1
        images = gathered(rows, np.array(self._labels) if known else None, origin)
        kept = None
        if self._originals is not None and self._resizing is not None and rows.dtype == np.uint8:
            kept = Originals(self._originals, self._resizing)
        return replace(images, resizing=self._resizing, originals=kept)

    def _alike(self, image: NDArray[Any], name: str) -> NDArray[Any]:
        assert self._first is not None
        first_name, first = self._first
        if image.dtype != first.dtype:
            raise InputError(f"{first_name} is {first.dtype} but {name} is {image.dtype}; make all images alike")
        if image.dtype != np.uint8:
            if image.shape != first.shape:
                raise InputError(
                    f"{first_name} has shape {first.shape} but {name} has {image.shape}; resize to one size"
                )
            return image
        if image.shape[:2] != first.shape[:2]:
            sizes = [f"{width}x{height}" for height, width, _ in (first.shape, image.shape)]
            raise InputError(
                f"{first_name} is {sizes[0]} pixels but {name} is {sizes[1]}; say how they "
                "come to one size: --resize and --crop, or resizing=ce_detect.Resizing(256, 224)"
            )
        if image.shape[2] > first.shape[2]:
            self._colour()
        return np.repeat(image, 3, axis=2) if image.shape[2] < first.shape[2] else image

    def _colour(self) -> None:
        """Give the images so far three channels."""
        assert self._first is not None
        grey, self._spool = self._spool.gathered(), Spool()
        assert grey is not None
        for part in chunks(grey, 64):
            self._spool.append(np.repeat(part, 3, axis=3))
        self._first = (self._first[0], np.repeat(self._first[1], 3, axis=2))


def _class_number(label: Any, name: str) -> Any:
    """A label as one number: itself, the only number of an array, or the position of the 1 of a one-hot one."""
    value = array(label)
    if value is None and isinstance(label, list | tuple):
        value = np.asarray(label)
    if value is None:
        return label
    if value.size == 1:
        return value.reshape(-1)[0]
    if value.ndim == 1 and set(np.unique(value)) == {0, 1} and value.sum() == 1:
        return int(value.argmax())
    raise InputError(
        f"{name} has a label of shape {value.shape}, expected a class number; where several labels hold, "
        "give images alone"
    )


def decoded(value: Any, name: str, *, most_pixels: int | None = None) -> NDArray[Any]:
    """Return one image as uint8 ``(H, W, 1, 3 or 4)``, or floats ``(C, H, W)``; see `Stack.append`.

    Args:
        value: see `Stack.append`.
        name: what errors call it.
        most_pixels: of an image file, which says so before it is unpacked; by default what Pillow allows.

    Raises:
        InputError: it cannot be read as an image, or has too many pixels.
        MissingExtraError: it is a file, and Pillow is not installed.
    """
    if isinstance(value, Mapping) and "bytes" in value:
        value = value["bytes"] if value["bytes"] is not None else Path(str(value.get("path")))
    if isinstance(value, bytes | Path):
        return _opened(value, name, most_pixels)
    if hasattr(value, "convert") and hasattr(value, "mode"):
        with _decoding(name):
            return _from_pillow(value, name)
    found = array(value)
    if found is None:
        raise InputError(f"{name} is {type(value).__name__}, expected an image, an array or a tensor")
    if found.dtype == np.uint8 and found.ndim == 2:
        return found[:, :, None]
    if found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] in CHANNELS:
        return found
    if found.dtype == np.uint8 and found.ndim == 3 and found.shape[0] in CHANNELS:
        return found.transpose(1, 2, 0)
    if np.issubdtype(found.dtype, np.floating) and found.ndim == 3:
        return np.asarray(found, np.float32)
    raise InputError(
        f"{name} is {found.dtype} of shape {found.shape}, expected uint8 (H, W, 1, 3 or 4) or floats (C, H, W)"
    )


def _opened(source: bytes | Path, name: str, most_pixels: int | None) -> NDArray[np.uint8]:
    pillow = module("PIL.Image", "Reading image files")
    with _decoding(name), pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        if most_pixels is not None and image.width * image.height > most_pixels:
            raise InputError(f"{name} is {image.width}x{image.height}, more than {most_pixels} pixels; send it smaller")
        return _from_pillow(image, name)


def _from_pillow(image: Any, name: str) -> NDArray[np.uint8]:
    """Pixels as a viewer shows them: turned as the EXIF tag of a photograph says."""
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(f"{name} holds {image.n_frames} images; save each to a file of its own")
    image = module("PIL.ImageOps", "Reading image files").exif_transpose(image)
    if image.mode.startswith(_DEEP_MODES):
        raise InputError(f"{name} has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")
    pixels = np.asarray(image.convert("L" if image.mode in _GREY_MODES else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many types on broken files
        raise InputError(f"{name} cannot be read as an image: {error}; replace or remove it") from error
