"""Pretrained models with what prepares their images, from Hugging Face, torchvision or timm.

A processor resizes, crops and normalises. Here the first two become a `Resizing`, which brings image files of any size
to the model, and the last becomes part of the model, so that an attack has to go through it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import ModelError, UsageError
from ce_detect.core.extras import module, needed_for
from ce_detect.core.resizing import INTERPOLATIONS, Interpolation, Resizing, Size
from ce_detect.data.resizing import resized, waves

with needed_for("Pretrained models"):
    from torch import nn

    from ce_detect.classifiers.normalization import Normalized
    from ce_detect.guard.detected_model import DetectedModel
    from ce_detect.guard.wrapped_model import Reading

TOLERANCE = 2.0
"""Grey levels by which a processor's image may differ from ours on average: libraries round sizes otherwise."""

_SIZES = ((300, 400), (331, 257))  # of the images on which both are compared


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a processor does.

    Attributes:
        resizing: to the model's size; None where it leaves the size alone.
        mean: one a channel, subtracted from pixels in [0, 1].
        std: one a channel, to divide by.
    """

    resizing: Resizing | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


def from_pretrained(model: nn.Module, processor: Any, **reading: Unpack[Reading]) -> DetectedModel:
    """Put a pretrained model behind its processor.

    >>> guard = from_pretrained(model, processor).calibrate("photos/")               # doctest: +SKIP
    >>> DetectedModel.load("guard.safetensors", normalized(model, processor))        # doctest: +SKIP

    Args:
        model: in eval mode, as the library gives it.
        processor: see `preprocessing`.
        reading: see `ce_detect.DetectedModel`.

    Raises:
        ModelError: see `preprocessing`.
    """
    found = preprocessing(processor)
    given: Reading = {"bounds": (0.0, 1.0), "resizing": found.resizing, **reading}
    return DetectedModel(Normalized(model, mean=found.mean, std=found.std), **given)


def normalized(model: nn.Module, processor: Any) -> Normalized:
    """Return the model that takes pixels in [0, 1], which is what `from_pretrained` wraps."""
    found = preprocessing(processor)
    return Normalized(model, mean=found.mean, std=found.std)


def preprocessing(processor: Any) -> Preprocessing:
    """Read what a processor does, and hold it against what it really gives on two images.

    Args:
        processor: a Hugging Face image processor; what torchvision's ``weights.transforms()`` returns; or timm's
            ``resolve_model_data_config(model)``, which is taken at its word.

    Raises:
        ModelError: it is none of these, or does more than to resize, crop and normalise.
    """
    if isinstance(processor, Mapping):
        return _of_timm(processor)
    if not callable(processor):
        raise ModelError(f"{type(processor).__name__} prepares no images; {_EXPECTED}")
    differences = []
    for found in _candidates(processor):
        difference = max(_difference(found, processor, size) for size in _SIZES)
        if difference <= TOLERANCE:
            return found
        differences.append(difference)
    least = f": its images differ by {min(differences):.1f} steps of 255 on average at least" if differences else ""
    raise ModelError(
        f"{type(processor).__name__} does more than to resize, crop and normalise{least}. Wrap the model yourself: "
        "DetectedModel(Normalized(model, mean=..., std=...), resizing=Resizing(256, 224))"
    )


_EXPECTED = "expected a Hugging Face image processor, weights.transforms() of torchvision, or the data config of timm"


def _candidates(processor: Any) -> Iterator[Preprocessing]:
    """What it may do, the likeliest first: libraries agree on the names of settings, not on what they mean."""
    if hasattr(processor, "resize_size"):  # torchvision
        mean, std = tuple(processor.mean), tuple(processor.std)
        sizes = _one(processor.resize_size), _one(processor.crop_size)
        yield Preprocessing(Resizing(*sizes, _filter(processor.interpolation)), mean, std)
        return
    normalises = getattr(processor, "do_normalize", None)
    mean = tuple(processor.image_mean) if normalises else (0.0,) * 3
    std = tuple(processor.image_std) if normalises else (1.0,) * 3
    if getattr(processor, "include_top", False):  # EfficientNet divides twice
        std = tuple(value**2 for value in std)
    if getattr(processor, "rescale_offset", False):  # to [-1, 1] before the rest
        mean = tuple(value + 1 for value in mean)
    factor = 255 * getattr(processor, "rescale_factor", 1 / 255) if getattr(processor, "do_rescale", True) else 255.0
    plain = Preprocessing(None, tuple(value / factor for value in mean), tuple(value / factor for value in std))
    crop = _size(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
    if not getattr(processor, "do_resize", False):
        yield replace(plain, resizing=Resizing.of(None, crop))
        return
    for resize, cut in _resizes(_size(processor.size), crop, getattr(processor, "crop_pct", None)):
        with contextlib.suppress(UsageError):  # a crop larger than the resize: another reading fits
            yield replace(plain, resizing=Resizing(resize, cut, _filter(processor.resample)))


def _resizes(size: Size, crop: Size | None, share: float | None) -> Iterator[tuple[Size, Size | None]]:
    """Resize and crop that settings may mean."""
    yield size, crop
    if not isinstance(size, int):
        return
    if share:  # the crop is that share of the resize
        yield int(size / share), crop or size
        yield (int(size / share), int(size / share)), crop or size
    yield (size, size), crop
    yield int(256 / 224 * size), crop  # LeViT


def _of_timm(config: Mapping[str, Any]) -> Preprocessing:
    missing = [name for name in ("input_size", "interpolation", "mean", "std", "crop_pct") if name not in config]
    mode = config.get("crop_mode", "center")
    if missing or mode not in {"center", "squash"}:
        reason = f"has no {', '.join(missing)}" if missing else f"has crop_mode {mode!r}"
        raise ModelError(f"the data config {reason}; {_EXPECTED}")
    _, height, width = config["input_size"]
    tall, wide = (int(side / config["crop_pct"]) for side in (height, width))
    shorter = mode == "center" and height == width
    resizing = Resizing(tall if shorter else (tall, wide), (height, width), _filter(config["interpolation"]))
    return Preprocessing(resizing, tuple(config["mean"]), tuple(config["std"]))


def _difference(found: Preprocessing, processor: Any, size: tuple[int, int]) -> float:
    """Grey levels by which the processor's image differs from ours; infinite where the shapes do."""
    image = waves(*size)
    ours = image if found.resizing is None else resized(image, found.resizing, "the image")
    theirs = _prepared(processor, image).transpose(1, 2, 0)
    if theirs.shape != ours.shape:
        return float("inf")
    return float(np.abs(255 * (theirs * found.std + found.mean) - ours).mean())


def _prepared(processor: Any, image: NDArray[np.uint8]) -> NDArray[Any]:
    drawn = module("PIL.Image", "Reading a processor").fromarray(image)
    if hasattr(processor, "resize_size"):
        return np.asarray(processor(drawn))
    return np.asarray(processor(images=drawn, return_tensors="np")["pixel_values"][0])


def _one(size: Any) -> Size:
    sides = [size] if isinstance(size, int) else list(size)
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _size(size: Any) -> Size:
    """A size of Hugging Face: ``{"shortest_edge": n}``, ``{"height": h, "width": w}``, or numbers."""
    if isinstance(size, int | list | tuple):
        return _one(size)
    shortest = _field(size, "shortest_edge")
    if shortest is not None:
        return int(shortest)
    height, width = _field(size, "height"), _field(size, "width")
    if height is None or width is None:
        raise ModelError(f"a size of {size} is not known here, expected a shortest edge, or height and width")
    return int(height), int(width)


def _field(size: Any, name: str) -> Any:
    return size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)


def _filter(interpolation: Any) -> Interpolation:
    """Name of a filter of Pillow, of torchvision or by number."""
    if isinstance(interpolation, int):
        interpolation = module("PIL.Image", "Reading a processor").Resampling(interpolation)
    name = str(getattr(interpolation, "name", interpolation)).lower()
    if name not in INTERPOLATIONS:
        raise ModelError(f"interpolation {name!r} is not known here, expected one of {', '.join(INTERPOLATIONS)}")
    return name
