"""Images with their labels and their pixel range, checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.core.resizing import Region, Resizing
from ce_detect.core.types import Bounds, Floats
from ce_detect.data.lazy import Mapped, Pixels, rows
from ce_detect.data.spool import fits
from ce_detect.data.validation import refuse_masked

CHANNELS = frozenset({1, 3, 4})
"""Of an image, where nothing else tells what three dimensions are."""


class Originals(Sequence[NDArray[np.uint8]]):
    """Images of 8 bits ``(H, W, C)`` of any sizes, made anew whenever they are asked for: large ones fill no memory.

    Args:
        makers: one for each image.
        resizing: what makes inputs of them.
    """

    def __init__(self, makers: Sequence[Callable[[], NDArray[np.uint8]]], resizing: Resizing) -> None:
        self._makers, self._resizing = makers, resizing

    def __len__(self) -> int:
        return len(self._makers)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, index: slice) -> Originals: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | Originals:
        return Originals(self._makers[index], self._resizing) if isinstance(index, slice) else self._makers[index]()

    def subset(self, places: Sequence[int]) -> Originals:
        """Those at some places; none is made."""
        return Originals([self._makers[place] for place in places], self._resizing)

    def shown(self, place: int) -> tuple[NDArray[np.uint8], Region]:
        """An image, and the part of it that the classifier sees."""
        image = self[place]
        return image, self._resizing.shown(*image.shape[:2])


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images, perhaps with their labels and their pixel range.

    Attributes:
        pixels: ``(n, C, H, W)``, float32: an array, or what reads rows from a file when they are asked for.
        y: ``(n,)`` class numbers, or None where there are no labels.
        bounds: smallest and largest valid pixel value; None where the source does not tell.
        resizing: how image files came to this size; None where they had it.
        originals: these files before that, uint8 ``(H, W, C)`` each; None where nobody asked for them.
    """

    pixels: Pixels
    y: NDArray[np.int64] | None = None
    bounds: Bounds | None = None
    resizing: Resizing | None = None
    originals: Originals | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def x(self) -> Floats:
        """All images as one array; read anew each time where they are not in memory."""
        return np.asarray(self.pixels)

    def subset(self, index: slice | Sequence[int] | NDArray[Any]) -> Images:
        """Return the images at ``index``: a slice, positions, or a mask ``(n,)`` of bools."""
        part = rows(self.pixels, index)
        pixels = np.asarray(part) if isinstance(self.pixels, np.ndarray) and fits(part.shape) else part
        kept = None if self.originals is None else self.originals.subset(np.arange(len(self))[index].tolist())
        return replace(self, pixels=pixels, y=None if self.y is None else self.y[index], originals=kept)

    def within(self, bounds: Bounds) -> Images:
        """Return the images with their pixels scaled from their own bounds to others, such as [0, 1] to [0, 255]."""
        if self.bounds is None or self.bounds == bounds:
            return self
        return replace(self, pixels=Mapped(self.pixels, partial(_rescaled, old=self.bounds, new=bounds)), bounds=bounds)


def _rescaled(x: Floats, *, old: Bounds, new: Bounds) -> Floats:
    unit = (x - np.float32(old[0])) / np.float32(old[1] - old[0])
    return np.float32(new[0]) + np.float32(new[1] - new[0]) * unit


def array(value: object) -> NDArray[Any] | None:
    """The NumPy form of an array or a tensor, None for anything else; what a masked array hides would show."""
    if isinstance(value, np.ndarray):
        refuse_masked(value)
    torch: Any = sys.modules.get("torch")  # whoever holds a tensor has imported it
    if torch is not None and isinstance(value, torch.Tensor):
        tensor: Any = value.detach().cpu()
        tensor = tensor if tensor.layout is torch.strided else tensor.to_dense()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)  # NumPy has no bfloat16
    return np.asarray(value) if hasattr(value, "__array__") else None


def gathered(x: Any, y: object, origin: str, limit: int | None = None) -> Images:
    """Make images from raw rows and check them.

    Args:
        x: an array or `ce_detect.data.lazy.Lazy` rows with a ``dtype``: uint8 ``(n, H, W)``, ``(n, H, W, C)`` or
            ``(n, C, H, W)`` of 1, 3 or 4 channels, which is scaled to [0, 1]; or floats ``(n, C, H, W)``, which keep
            their values.
        y: labels ``(n,)`` or ``(n, 1)``, or None.
        origin: what errors call the images.
        limit: keep only the first so many.

    Raises:
        InputError: anything else, with what was passed and how to mend it.
    """
    if len(x.shape) not in {3, 4} or 0 in x.shape:
        raise InputError(f"{origin} has shape {x.shape}, expected at least one image, as (n, C, H, W)")
    known = None if y is None else labels(y, len(x), origin)[:limit]
    x = rows(x, slice(limit)) if limit else x
    if x.dtype == np.uint8:
        return Images(_converted(x, _scaled, _scaled_shape(x.shape, origin)), known, (0.0, 1.0))
    check_floats(x, origin)
    return Images(_converted(x, _as_float32, x.shape), known)


def _converted(x: Any, function: Any, shape: tuple[int, ...]) -> Pixels:
    """Apply a function now where it costs no memory, or else whenever rows are read."""
    ready = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.flags.c_contiguous
    if isinstance(x, np.ndarray) and (ready or fits(shape)):
        converted: Floats = function(x)
        return converted
    return Mapped(x, function, shape)


def _scaled_shape(shape: tuple[int, ...], origin: str) -> tuple[int, ...]:
    if len(shape) == 3:
        return (shape[0], 1, *shape[1:])
    if shape[-1] in CHANNELS:
        return (shape[0], shape[3], *shape[1:3])
    if shape[1] in CHANNELS:
        return shape
    raise InputError(f"{origin} has uint8 images of shape {shape}, expected (n, H, W) or (n, H, W, 1, 3 or 4)")


def _scaled(x: NDArray[np.uint8]) -> Floats:
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[-1] in CHANNELS:
        x = x.transpose(0, 3, 1, 2)
    return np.divide(x, 255, dtype=np.float32, order="C")


def _as_float32(x: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(x, np.float32)


def check_floats(x: Any, origin: str) -> None:
    """Refuse an array that is not ``(n, C, H, W)`` of floats.

    Raises:
        InputError: another type or shape.
    """
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(f"{origin} has dtype {x.dtype}, expected floats; scale to float32 within the model's bounds")
    if len(x.shape) == 4:
        return
    if len(x.shape) == 3 and x.shape[0] in CHANNELS:
        raise InputError(
            f"{origin} has shape {x.shape}, which is one image (C, H, W); expected batches (n, C, H, W): "
            "numpy.stack(images), or DataLoader(dataset, batch_size=32)"
        )
    raise InputError(f"{origin} has shape {x.shape}, expected (n, C, H, W); for grey images take x[:, None]")


def labels(y: object, count: int, origin: str) -> NDArray[np.int64]:
    """Class numbers ``(count,)`` from integers ``(count,)`` or ``(count, 1)``.

    Raises:
        InputError: anything else.
    """
    known = array(y)
    found = np.asarray(y) if known is None else known
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        shape = found.shape
        raise InputError(
            f"{origin} has labels of shape {shape}, expected ({count},); for one-hot ones take y.argmax(1)"
        )
    if not np.issubdtype(found.dtype, np.integer):
        raise InputError(f"{origin} has labels of dtype {found.dtype}, expected integers: y.astype(numpy.int64)")
    if len(found) != count:
        raise InputError(f"{origin} has {count} images but {len(found)} labels, expected as many of each")
    return found.astype(np.int64)
