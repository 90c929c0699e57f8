"""Images and labels from files, from factories and from memory, in one form."""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ce_detect.errors import InputError, MissingExtraError, UsageError
from ce_detect.factory import call_factory

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_GREY_MODES = frozenset({"1", "L", "LA"})
_DEEP_MODES = ("I", "F")  # Pillow's modes of more than 8 bits a channel: I, I;16, I;16B, F


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images, perhaps with their labels and their pixel range.

    Attributes:
        x: ``(n, C, H, W)``, float32.
        y: ``(n,)`` class numbers, or None where there are no labels.
        bounds: smallest and largest valid pixel value; None where the source does not tell.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None = None
    bounds: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, index: slice | Sequence[int] | NDArray[Any]) -> Images:
        """Return the images at ``index``: a slice, positions, or a mask ``(n,)`` of bools."""
        return Images(self.x[index], None if self.y is None else self.y[index], self.bounds)


def load_data(spec: str | Path, *, split: str | None = None, limit: int | None = None) -> Images:
    """Load the images that ``spec`` names.

    Pixels of type uint8 are scaled to [0, 1] and turned from ``(n, H, W)`` or ``(n, H, W, C)`` into ``(n, C, H, W)``.
    Float pixels must be ``(n, C, H, W)`` and keep their values.

    Args:
        spec: one of

            - ``file.npz`` with ``x`` and ``y``, with ``x_test`` and ``y_test``, or with MedMNIST's ``test_images`` and
              ``test_labels``; labels may be absent;
            - ``file.npy``, images only;
            - a folder of class folders of PNG or JPEG images; classes are numbered in the order of their names, and
              the images come one of each class in turn, so that any first part is balanced; transparency is dropped;
            - ``package.module:factory`` or ``path/to/file.py:factory``, called without arguments, which returns
              ``(x, y)``, ``x``, or batches as in `as_arrays`;
            - ``demo``, the packaged 2,000 Fashion-MNIST test images.
        split: which split of an ``.npz`` to take, such as ``train``; by default the plain ``x`` or else ``test``.
        limit: keep only the first so many images.

    Raises:
        UsageError: ``spec`` names nothing that can be loaded, or ``split`` or ``limit`` make no sense for it.
        InputError: the file or what the factory returned cannot be read as images and labels.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}, expected at least 1 image")
    name, path = str(spec), Path(spec)
    if split is not None and path.suffix != ".npz" and (name, split) != ("demo", "test"):
        raise UsageError(f"split {split!r} applies to .npz files only; name the {split!r} part of {name!r} itself")
    if name == "demo":
        return _demo(limit)
    if path.is_dir():
        return _from_folder(path, limit)
    if path.suffix in {".npz", ".npy"}:
        if not path.is_file():
            raise UsageError(f"there is no data file {name!r}; check the path")
        x, y = _from_npz(path, split) if path.suffix == ".npz" else (_from_npy(path), None)
        return _images(x, y, name, limit)
    if ":" in name:
        return _from_factory(name, limit)
    raise UsageError(
        f"{name!r} is no data that can be loaded; expected a folder of class folders that exists, "
        "a .npz or .npy file, 'package.module:factory', 'file.py:factory' or 'demo'"
    )


def as_arrays(x: object, y: object = None) -> Images:
    """Gather images that are already in memory.

    Shapes, types and lengths are checked; the range of the pixels is not.

    Args:
        x: ``(n, C, H, W)`` floats, as a NumPy array or a PyTorch tensor on any device; or an iterable of batches, each
            ``x`` or ``(x, y)``, such as a ``DataLoader``.
        y: ``(n,)`` or ``(n, 1)`` integers, unless the batches bring them.

    Raises:
        InputError: anything else, with what was passed and how to mend it.
    """
    array = _array(x)
    if array is not None:
        return _images(_floats(array, "x"), y, "x")
    batches = list(_batches(x))
    if not batches:
        raise InputError("x has no batches, expected at least one image")
    for number, (images, _) in enumerate(batches):
        if images.shape[1:] != batches[0][0].shape[1:]:
            raise InputError(f"batch {number} of x has shape {images.shape}, but batch 0 has {batches[0][0].shape}")
    labelled = sum(labels is not None for _, labels in batches)
    if labelled and y is not None:
        raise InputError("labels were passed twice: in the batches of x and as y; leave one of them out")
    if labelled not in {0, len(batches)}:
        raise InputError(f"{labelled} of {len(batches)} batches of x have labels, expected all or none")
    if labelled:
        y = np.concatenate([labels for _, labels in batches if labels is not None])
    return _images(np.concatenate([images for images, _ in batches]), y, "x")


def _demo(limit: int | None) -> Images:
    with (files("ce_detect") / "assets" / "fashion_images.npz").open("rb") as file, np.load(file) as stored:
        return _images(stored["x"], stored["y"], "demo", limit)


def _from_npz(path: Path, split: str | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    plain = [("x", "y")] if split is None else []
    part = split or "test"
    pairs = [*plain, (f"x_{part}", f"y_{part}"), (f"{part}_images", f"{part}_labels")]
    with _reading(path) as file:
        stored = np.load(file, allow_pickle=False)
        for images, labels in pairs:
            if isinstance(stored, np.lib.npyio.NpzFile) and images in stored:
                return stored[images], stored.get(labels)
    if not isinstance(stored, np.lib.npyio.NpzFile):
        raise InputError(f"{path} holds a single array, as .npy files do; rename it to {path.with_suffix('.npy').name}")
    raise InputError(
        f"{path} has the keys {', '.join(stored.files) or '(none)'}, "
        f"expected images under {' or '.join(images for images, _ in pairs)}; save them so or name the split"
    )


def _from_npy(path: Path) -> NDArray[Any]:
    with _reading(path) as file:
        stored = np.load(file, allow_pickle=False)
    if not isinstance(stored, np.ndarray):
        raise InputError(f"{path} holds arrays by name, as .npz files do; rename it to {path.with_suffix('.npz').name}")
    return stored


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:  # numpy.load leaves a broken zip open if it opened it itself
            yield file
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read: {error}. Object arrays and pickles are refused because loading one runs code; "
            "write plain arrays with numpy.savez_compressed(path, x=x, y=y)"
        ) from error


def _from_factory(spec: str, limit: int | None) -> Images:
    result = call_factory(spec)
    x, y = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    array = _array(x)
    if array is not None:
        return _images(array, y, spec, limit)
    gathered = as_arrays(x, y)
    return gathered.subset(slice(limit))


def _from_folder(root: Path, limit: int | None) -> Images:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "calibrate", "Reading image files") from error
    paths, labels = _in_turn(root, limit)
    sizes: list[tuple[int, int]] = []
    modes: set[str] = set()
    for path in paths:
        with _decoding(path), Image.open(path) as image:
            sizes.append(image.size)
            modes.add(image.mode)
        if image.mode.startswith(_DEEP_MODES):
            raise InputError(f"{path} has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")
        if sizes[-1] != sizes[0]:
            first, other = ("x".join(map(str, size)) for size in (sizes[0], sizes[-1]))
            raise InputError(f"{paths[0]} is {first} pixels but {path} is {other}; resize all images to one size")
    mode = "L" if modes <= _GREY_MODES else "RGB"
    width, height = sizes[0]
    x = np.empty((len(paths), height, width, len(mode)), np.uint8)
    for row, path in zip(x, paths, strict=True):
        with _decoding(path), Image.open(path) as image:
            row[:] = np.asarray(image.convert(mode)).reshape(row.shape)
    return _images(x, labels, str(root))


def _in_turn(root: Path, limit: int | None) -> tuple[list[Path], NDArray[np.int64]]:
    """Paths and labels of the images, one of each class in turn."""
    classes = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    found = [
        (rank, label, path)
        for label, folder in enumerate(classes)
        for rank, path in enumerate(sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES))
    ]
    if not found:
        raise InputError(
            f"{root} holds {len(classes)} class folders with no image in them, "
            f"expected {root / '<class>' / '<image>.png'} or .jpg"
        )
    found = sorted(found)[:limit]
    return [path for _, _, path in found], np.array([label for _, label, _ in found])


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow's decoders raise many types on broken files
        raise InputError(f"{path} cannot be read as an image: {error}; replace or remove it") from error


def _batches(x: object) -> Iterator[tuple[NDArray[np.float32], NDArray[Any] | None]]:
    if isinstance(x, str | bytes | dict) or not isinstance(x, Iterable):
        raise InputError(
            f"x is {type(x).__name__}, expected an array or tensor (n, C, H, W), or an iterable of batches"
        )
    for number, batch in enumerate(x):
        images, labels = _pair(batch)
        array = _array(images)
        if array is None:
            raise InputError(
                f"batch {number} of x is {type(batch).__name__}, expected an array, a tensor, or a pair (x, y) of them"
            )
        floats = _floats(array, f"batch {number} of x")
        yield floats, None if labels is None else _labels(labels, len(floats), f"batch {number} of x")


def _pair(batch: object) -> tuple[object, object]:
    if isinstance(batch, tuple | list) and len(batch) in {1, 2}:
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


def _array(value: object) -> NDArray[Any] | None:
    """The NumPy form of an array or a tensor, None for anything else."""
    torch: Any = sys.modules.get("torch")  # whoever holds a tensor has imported it
    if torch is not None and isinstance(value, torch.Tensor):
        tensor: Any = value.detach().cpu()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)  # NumPy has no bfloat16
    return np.asarray(value) if hasattr(value, "__array__") else None


def _images(x: NDArray[Any], y: object, origin: str, limit: int | None = None) -> Images:
    if x.ndim not in {3, 4} or x.size == 0:
        raise InputError(f"{origin} has shape {x.shape}, expected at least one image, as (n, C, H, W)")
    labels = None if y is None else _labels(y, len(x), origin)[:limit]
    if x.dtype == np.uint8:
        return Images(_scaled(x[:limit], origin), labels, (0.0, 1.0))
    return Images(_floats(x[:limit], origin), labels)


def _scaled(x: NDArray[np.uint8], origin: str) -> NDArray[np.float32]:
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[-1] in {1, 3}:
        x = x.transpose(0, 3, 1, 2)
    elif x.shape[1] not in {1, 3}:
        raise InputError(f"{origin} has uint8 images of shape {x.shape}, expected (n, H, W) or (n, H, W, 1 or 3)")
    return np.divide(x, 255, dtype=np.float32, order="C")


def _floats(x: NDArray[Any], origin: str) -> NDArray[np.float32]:
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(f"{origin} has dtype {x.dtype}, expected floats; scale to float32 within the model's bounds")
    if x.ndim != 4:
        raise InputError(f"{origin} has shape {x.shape}, expected (n, C, H, W); for grey images take x[:, None]")
    return np.ascontiguousarray(x, np.float32)


def _labels(y: object, count: int, origin: str) -> NDArray[np.int64]:
    array = _array(y)
    labels = np.asarray(y) if array is None else array
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        shape = labels.shape
        raise InputError(
            f"{origin} has labels of shape {shape}, expected ({count},); for one-hot ones take y.argmax(1)"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{origin} has labels of dtype {labels.dtype}, expected integers: y.astype(numpy.int64)")
    if len(labels) != count:
        raise InputError(f"{origin} has {count} images but {len(labels)} labels, expected as many of each")
    return labels.astype(np.int64)
