"""Images that are already in Python: arrays, loaders, and datasets of single examples."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.data.columns import IMAGE_NAMES, LABEL_NAMES, chosen
from ce_detect.data.decoding import Stack
from ce_detect.data.images import Images, array, check_floats, gathered, labels
from ce_detect.data.spool import Spool

Keys = list[str] | None


def is_dataset(x: object) -> bool:
    """Whether ``x`` gives single examples: a Hugging Face or a PyTorch dataset."""
    return _is_hugging_face(x) or _is_pytorch(x)


def _is_hugging_face(x: object) -> bool:
    return hasattr(x, "features") and hasattr(x, "column_names")


def _is_pytorch(x: object) -> bool:
    data: Any = sys.modules.get("torch.utils.data")  # whoever holds a dataset has imported it
    return data is not None and isinstance(x, data.Dataset)


def from_dataset(x: Any, limit: int | None, stack: Stack) -> Images:
    """Gather single examples: ``(image, label)``, an image alone, or a mapping that holds them under usual names.

    Raises:
        InputError: an example that is none of these, or images of several sizes.
    """
    keys = _features(x) if _is_hugging_face(x) else None
    for number, example in enumerate(islice(_examples(x), limit)):
        name = f"example {number} of x"
        image, label = _pair(example, name, keys)
        stack.append(image, label, name)
    return stack.images("x")


def _examples(x: Any) -> Iterator[Any]:
    return iter(x) if hasattr(x, "__iter__") else (x[i] for i in range(len(x)))  # some datasets never end themselves


def _features(x: Any) -> Keys:
    """Names of the columns of a Hugging Face dataset; None where only its examples tell."""
    features = x.features or {}
    images = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if not images:
        return None
    classes = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    return chosen(features, images, features, classes, "x")


def from_batches(x: object, y: object, limit: int | None) -> Images:
    """Gather batches: each ``x``, ``(x, y)``, or a mapping that holds them under usual names.

    Raises:
        InputError: a batch that is none of these; labels in some batches only, or both there and in ``y``.
    """
    if isinstance(x, str | bytes | Mapping) or not isinstance(x, Iterable):
        parts = f"; pass one of its parts, {', '.join(map(str, x))}" if isinstance(x, Mapping) else ""
        raise InputError(
            f"x is {type(x).__name__}, expected an array or tensor (n, C, H, W), an iterable of batches, or a dataset"
            + parts
        )
    if isinstance(x, tuple) and len(x) == 2 and _are_images_and_labels(*x):
        raise InputError("x is a pair of images and labels; pass x and y apart: (x, y), not ((x, y),)")
    spool, found, shape, number, count = Spool(), [], None, -1, 0
    for number, batch in enumerate(x):
        name = f"batch {number} of x"
        images, known = _batch(batch, name)
        shape = shape or images.shape
        if images.shape[1:] != shape[1:]:
            raise InputError(f"{name} has shape {images.shape}, but batch 0 has {shape}")
        spool.append(images)
        found += [] if known is None else [known]
        count += len(images)
        if limit is not None and count >= limit:
            break
    rows = spool.gathered()
    if rows is None:
        raise InputError("x has no batches, expected at least one image")
    if found and y is not None:
        raise InputError("labels were passed twice: in the batches of x and as y; leave one of them out")
    if len(found) not in {0, number + 1}:
        raise InputError(f"{len(found)} of {number + 1} batches of x have labels, expected all or none")
    return gathered(rows, np.concatenate(found) if found else y, "x", limit)


def _are_images_and_labels(x: object, y: object) -> bool:
    images, known = array(x), array(y)
    return images is not None and known is not None and images.ndim == 4 and known.ndim < 3


def _batch(batch: object, name: str) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
    images, known = _pair(batch, name, None)
    found = array(images)
    if found is None:
        raise InputError(f"{name} is {type(batch).__name__}, expected an array, a tensor, or a pair (x, y) of them")
    check_floats(found, name)
    return np.ascontiguousarray(found, np.float32), None if known is None else labels(known, len(found), name)


def _pair(value: Any, name: str, keys: Keys) -> tuple[Any, Any]:
    """Image and label, or images and labels."""
    if isinstance(value, Mapping):
        image = keys[0] if keys else next((key for key in IMAGE_NAMES if key in value), None)
        label = (keys[1] if len(keys) > 1 else None) if keys else next((k for k in LABEL_NAMES if k in value), None)
        if image not in value:
            raise InputError(
                f"{name} is {type(value).__name__}, expected an array, a tensor or a pair; of a mapping with the keys "
                f"{', '.join(map(str, value))} it is not known which are the images: call them 'image' and 'label'"
            )
        return value[image], value.get(label)
    if isinstance(value, tuple) and len(value) > 2:
        raise InputError(
            f"{name} has {len(value)} parts, expected an image or a pair (image, label); leave the others out: "
            "((part[0], part[1]) for part in x)"
        )
    if isinstance(value, tuple | list) and len(value) in {1, 2}:
        return value[0], value[1] if len(value) == 2 else None
    return value, None
