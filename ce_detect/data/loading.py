"""The two doors for images: by name, and from memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ce_detect.core.errors import InputError, UsageError
from ce_detect.core.resizing import Resizing
from ce_detect.data import files
from ce_detect.data.datasets import from_batches, from_dataset, is_dataset
from ce_detect.data.decoding import Stack
from ce_detect.data.images import Images, array, check_floats, gathered, labels
from ce_detect.storage.importing import call_factory


def load_data(
    spec: str | Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    resizing: Resizing | None = None,
    originals: bool = False,
) -> Images:
    """Load the images that ``spec`` names.

    Pixels of type uint8 are scaled to [0, 1] and turned from ``(n, H, W)`` or ``(n, H, W, C)`` into ``(n, C, H, W)``.
    Float pixels must be ``(n, C, H, W)`` and keep their values. Images that are large together stay in their file, or
    go to a temporary one in the cache folder, and are read when they are needed.

    Args:
        spec: one of

            - ``file.npz`` with ``x`` and ``y``, with ``x_test`` and ``y_test``, or with MedMNIST's ``test_images`` and
              ``test_labels``; labels may be absent;
            - ``file.npy``, images only;
            - a folder of class folders of images (PNG, JPEG, WebP, BMP, TIFF or GIF of one frame). Classes are numbered
              in the order of their names. The images come one of each class in turn, so that any first part is
              balanced. Transparency is dropped, and photographs are turned as their EXIF tag says;
            - a folder of such images, without labels;
            - ``file.parquet``, or a folder of such files as on the Hugging Face hub: a column of encoded images and,
              where there are labels, an integer column ``label``; needs the extra ``parquet``;
            - ``package.module:factory`` or ``path/to/file.py:factory``, called without arguments, which returns
              ``(x, y)`` or anything that `as_images` takes;
            - ``demo``, the packaged 2,000 Fashion-MNIST test images.
        split: which split of an ``.npz`` or of a folder of parquet files to take, such as ``train``; by default the
            plain ``x`` or else ``test``.
        limit: keep only the first so many images.
        resizing: how image files come to one size, as their classifier takes it. Arrays are taken as they are.
        originals: keep what is resized as it was, too; see `ce_detect.data.images.Images`.

    Raises:
        UsageError: ``spec`` names nothing that can be loaded, or ``split`` or ``limit`` make no sense for it.
        InputError: the file or what the factory returned cannot be read as images and labels.
        CalibrationError: the images are too large for memory and for the cache folder's disk.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}, expected at least 1 image")
    name, path = str(spec), Path(spec)
    in_tables = path.suffix == ".parquet" or (path.is_dir() and bool(files.tables(path)))
    if split is not None and not in_tables and path.suffix != ".npz" and (name, split) != ("demo", "test"):
        raise UsageError(
            f"split {split!r} applies to .npz files and folders of parquet files only; "
            f"name the {split!r} part of {name!r} itself"
        )
    if name == "demo":
        return files.demo(limit)
    if path.suffix in {".npz", ".npy", ".parquet"} and not path.exists():
        raise UsageError(f"there is no data file {name!r}; check the path")
    stack = Stack(resizing, originals=originals)
    if in_tables:
        return files.from_parquet(path, split, limit, stack)
    if path.is_dir():
        return files.from_folder(path, limit, stack)
    if path.suffix == ".npz":
        return files.from_npz(path, split, limit)
    if path.suffix == ".npy":
        return files.from_npy(path, limit)
    if path.suffix.lower() in files.SUFFIXES and path.is_file():
        return files.from_image(path, stack)
    if ":" in name:
        return _from_factory(name, limit, resizing, originals)
    raise UsageError(
        f"{name!r} is no data that can be loaded: expected a folder of class folders or of parquet files that exists, "
        "an image file, a .npz, .npy or .parquet file, 'package.module:factory', 'file.py:factory' or 'demo'"
    )


def _from_factory(spec: str, limit: int | None, resizing: Resizing | None, originals: bool) -> Images:
    result = call_factory(spec)
    x, y = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    found = array(x)
    if found is not None:
        return gathered(found, y, spec, limit)
    return as_images(x, y, limit=limit, resizing=resizing, originals=originals)


def as_images(
    x: object,
    y: object = None,
    *,
    limit: int | None = None,
    resizing: Resizing | None = None,
    originals: bool = False,
) -> Images:
    """Gather images that are already in Python, or named.

    Shapes, types and lengths are checked; the range of the pixels is not. What is too large for memory goes to a
    temporary file in the cache folder.

    Args:
        x: one of

            - ``(n, C, H, W)`` floats, as a NumPy array or a PyTorch tensor on any device;
            - an iterable of batches, such as a ``DataLoader``: each ``x``, ``(x, y)``, or a mapping with ``image`` and
              ``label``;
            - a PyTorch or Hugging Face dataset, whose examples are such pairs or mappings of single images: floats
              ``(C, H, W)``, or uint8 pixels or Pillow images, which are scaled to [0, 1];
            - `Images`, or what `load_data` takes.
        y: ``(n,)`` or ``(n, 1)`` integers, unless ``x`` brings them.
        limit: keep only the first so many.
        resizing: how image files and Pillow images come to one size. Arrays are taken as they are.
        originals: keep what is resized as it was, too.

    Raises:
        InputError: anything else, with what was passed and how to mend it.
        UsageError: a name of nothing that can be loaded.
        CalibrationError: the images are too large for memory and for the cache folder's disk.
    """
    found = array(x)
    if found is not None:
        if found.ndim in {3, 4} and found.size:
            check_floats(found, "x")
        return gathered(found, y, "x", limit)
    if not isinstance(x, str | Path | Images) and not is_dataset(x):
        return from_batches(x, y, limit)
    if isinstance(x, str | Path):
        images = load_data(x, limit=limit, resizing=resizing, originals=originals)
    elif isinstance(x, Images):
        images = x.subset(slice(limit))
    else:
        images = from_dataset(x, limit, Stack(resizing, originals=originals))
    if y is None:
        return images
    if images.y is not None:
        raise InputError("labels were passed twice: with x and as y; leave one of them out")
    return replace(images, y=labels(y, len(images), "x"))
