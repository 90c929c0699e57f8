"""The model behind a gate, and what is known about how to read it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from torch import nn

from ce_detect.artifacts.trust import Trust
from ce_detect.classifiers import checks, wrapping
from ce_detect.classifiers.adapted import Output
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.loading import from_onnx
from ce_detect.core.errors import CalibrationError, InputError, NotCalibratedError
from ce_detect.core.resizing import Resizing
from ce_detect.core.types import Bounds
from ce_detect.data import Images, as_images, validation


class Loading(Trust, total=False):
    """How an artifact is loaded: which file it must be, and the model in front of which it is put.

    Attributes:
        allow_other_model: take another model than it was calibrated for; the guarantee is void.
    """

    allow_other_model: bool


class Reading(TypedDict, total=False):
    """How a model is read; what is not given is found.

    Attributes:
        input_shape: ``(channels, height, width)``; found from the calibration images when not given.
        bounds: smallest and largest valid pixel value; found from the calibration images when not given.
        sites: names of the hidden tensors where interventions may happen; found in the model when not given.
        multi_label: whether several labels may hold at once (a model trained with a sigmoid a label, which must not be
            part of it). The decision is the top label.
        label: watch this label of a multi-label model alone: the decision is 1 where its logit is above 0, else 0.
        output: which part of what the model returns are the logits, a key, an attribute or a position; found when not
            given: ``logits``, or the first tensor.
        resizing: how image files come to the size of an input; none where they have it.
    """

    input_shape: tuple[int, int, int] | None
    bounds: Bounds | None
    sites: tuple[str, ...] | None
    multi_label: bool
    label: int | None
    output: Output | None
    resizing: Resizing | None


class WrappedModel:
    """A model, and its classifier once shape and bounds of its inputs are known.

    Attributes:
        model: in eval mode.
        resizing: how image files come to the size of its input; None where they have it.

    Args:
        model: a module, or the path of an ``.onnx`` file.
        input_shape: see `Reading`, as all that follow.
        bounds: smallest and largest valid pixel value.
        sites: names of hidden tensors.
        multi_label: whether several labels may hold at once.
        label: watch this one.
        output: what holds the logits.
        resizing: how image files come to the size of an input.

    Raises:
        ModelError: the model cannot be wrapped as it is.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        *,
        input_shape: tuple[int, int, int] | None = None,
        bounds: Bounds | None = None,
        sites: tuple[str, ...] | None = None,
        multi_label: bool = False,
        label: int | None = None,
        output: Output | None = None,
        resizing: Resizing | None = None,
    ) -> None:
        self.model = module(model)
        self.resizing = resizing
        self._shape, self._bounds = input_shape, bounds
        self._reading: dict[str, Any] = {"sites": sites, "multi_label": multi_label, "label": label, "output": output}
        self._classifier: Classifier | None = None
        if input_shape is not None and bounds is not None:
            self._classifier = self._wrapped(input_shape, bounds)

    @property
    def classifier(self) -> Classifier:
        """The wrapped classifier.

        Raises:
            NotCalibratedError: its input shape and bounds are not known yet.
        """
        if self._classifier is None:
            raise NotCalibratedError("input shape and bounds are not known yet: give both, or calibrate")
        return self._classifier

    @property
    def timed(self) -> nn.Module:
        """The model as its user runs it, whose time is 1.0 in a budget."""
        return wrapping.at_float32(self.model)

    def read(self, x: Any, y: Any = None) -> Images:
        """Read images that tell the shape and the bounds of inputs where these are not known; the model is not asked.

        Returns:
            The images within the bounds, which are theirs.

        Raises:
            InputError: they cannot be judged.
            CalibrationError: bounds that are none.
        """
        images = self._gathered(x, y)
        bounds = _checked(self._bounds or images.bounds or validation.found_bounds(images.pixels))
        shape = self._shape or validation.found_shape(images.pixels.shape)
        images = replace(images.within(bounds), bounds=bounds)
        validation.check_all(images.pixels, input_shape=shape, bounds=bounds)
        return images

    def fit(self, images: Images) -> Classifier:
        """Wrap the model for images that `read` returned, anew, since its weights may have changed."""
        _, channels, height, width = images.pixels.shape
        assert images.bounds is not None
        self._classifier = self._wrapped((channels, height, width), images.bounds)
        self.resizing = images.resizing
        return self._classifier

    def _gathered(self, x: Any, y: Any, *, originals: bool = False) -> Images:
        """Images of any source, which say how they were resized, or would be as files."""
        images = as_images(x, y, resizing=self.resizing, originals=originals)
        resizing, found = images.resizing or self.resizing, images.pixels.shape[2:]
        size = None if resizing is None else resizing.size
        if size is not None and size != found:
            raise InputError(
                f"the images are {found[1]}x{found[0]} pixels, but {resizing} gives {size[1]}x{size[0]}; "
                "pass image files, or arrays of that size"
            )
        return replace(images, resizing=resizing)

    def images(self, x: Any, y: Any = None, *, originals: bool = False) -> Images:
        """Read images for the classifier, within its bounds; what is resized is kept as it was, where that is asked.

        Raises:
            InputError: they cannot be judged.
        """
        images = self._gathered(x, y, originals=originals).within(self.classifier.bounds)
        validation.check_all(images.pixels, input_shape=self.classifier.input_shape, bounds=self.classifier.bounds)
        return images

    def named(self, x: Any) -> Any:
        """Images by name, read with what they were before a resize; anything else as it is."""
        return self.images(x, originals=True) if isinstance(x, str | Path) else x

    def on_cpu(self) -> Classifier:
        """The classifier on the CPU: a copy where it is elsewhere."""
        here = self.classifier
        if here.device.type == "cpu":
            return here
        channels, height, width = here.input_shape
        reading = {**self._reading, "sites": here.sites}
        return wrapping.wrap(
            copy.deepcopy(self.model).cpu(), input_shape=(channels, height, width), bounds=here.bounds, **reading
        )

    def _wrapped(self, shape: tuple[int, int, int], bounds: Bounds) -> Classifier:
        return wrapping.wrap(self.model, input_shape=shape, bounds=_checked(bounds), **self._reading)


def _checked(bounds: Bounds) -> Bounds:
    low, high = bounds
    if not (np.isfinite([low, high]).all() and low < high):
        raise CalibrationError(f"bounds = {bounds} are not (smallest, largest) valid pixel values")
    return bounds


def module(model: nn.Module | str | Path) -> nn.Module:
    """The model as a module in eval mode, read from its file where it is the name of one.

    Raises:
        ModelError: neither a module in eval mode nor an ONNX file.
    """
    return checks.unwrapped(from_onnx(model) if isinstance(model, str | Path) else model)
