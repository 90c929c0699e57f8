"""What every method of explanation is: inputs and labels in, for each a map of what counts for its label."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import InputError, UsageError
from ce_detect.data import tensors
from ce_detect.data.lazy import batch_size
from ce_detect.explain.effect_maps import ROWS


class Method:
    """A way to say which pixels count for a label. A subclass states its claims and computes maps in `_maps`.

    Attributes:
        name: on the command line and in tables.
        title: for people.
        gradients: whether the classifier must be differentiable.
        paper: where the method is from.
        rows: how many rows go through the classifier at a time for each input.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    gradients: ClassVar[bool] = True
    paper: ClassVar[str]
    rows: ClassVar[int] = 1

    def maps(self, classifier: Classifier, x: Any, labels: Any) -> Tensor:
        """Make a map of each input for its label.

        Args:
            classifier: any; differentiable where `gradients` says so.
            x: NumPy array or tensor ``(batch, channels, height, width)``, within the bounds. An image may come several
                times, with another label each.
            labels: the class that each map is for, whole numbers ``(batch,)``.

        Returns:
            ``(batch, height, width)``, float32: the larger, the more a pixel counts. Units are the method's own.

        Raises:
            InputError: inputs that cannot be judged, one that is constant, or a label that there is not.
            UsageError: the method needs gradients and the classifier has none, or a layer that it has not.
            MissingExtraError: the method needs a package that is not installed.
        """
        if self.gradients and not classifier.differentiable:
            raise UsageError(
                f"{self.title} needs gradients, and {type(classifier).__name__} has none. Pass the PyTorch model that "
                f"the file was made from, or take a method without gradients: {', '.join(_without_gradients())}"
            )
        pixels = tensors.checked(x, input_shape=classifier.input_shape, bounds=classifier.bounds)
        pixels = pixels.to(classifier.device)
        classes = checked_labels(labels, len(pixels), classifier.num_classes).to(pixels.device)
        refuse_constant(pixels)
        size = max(1, batch_size(ROWS, pixels.shape[1:]) // self.rows)
        parts = zip(pixels.split(size), classes.split(size), strict=True)
        with torch.inference_mode(False):  # a caller's would leave no gradients; neither do tensors made in one
            maps = torch.cat(
                [self._maps(classifier, *(one.clone() for one in part)).detach().float() for part in parts]
            )
        return F.interpolate(maps[:, None], pixels.shape[2:], mode="bilinear", align_corners=False)[:, 0]

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        """Maps of checked inputs, ``(batch, height, width)`` or smaller in height and width."""
        raise NotImplementedError


def checked_labels(labels: Any, count: int, classes: int) -> Tensor:
    """Return labels as int64 ``(batch,)``, or say what is wrong with them.

    Raises:
        InputError: not one whole number an input, or a class that the model has not.
    """
    found = torch.as_tensor(labels)
    if found.shape != (count,) or found.is_floating_point() or found.dtype == torch.bool:
        raise InputError(
            f"labels have shape {tuple(found.shape)} and type {found.dtype}, expected one whole number for each of "
            f"{count} inputs"
        )
    wrong = found[(found < 0) | (found >= classes)]
    if len(wrong):
        raise InputError(f"label {int(wrong[0])} is no class of this model, which has classes 0 to {classes - 1}")
    return found.to(torch.int64)


def refuse_constant(x: Tensor) -> None:
    """Nothing can be hidden in a constant picture, and a gradient there shows the model, not the picture.

    Args:
        x: ``(batch, channels, height, width)``.

    Raises:
        InputError: one of them is constant in each channel.
    """
    flat = x.flatten(2)
    constant = ((flat.amax(2) - flat.amin(2)).amax(1) == 0).nonzero()
    if len(constant):
        raise InputError(
            f"input {int(constant[0])} is constant: hiding a part of it changes nothing, so there is no map. "
            "Leave it out, and look why it is empty"
        )


def _without_gradients() -> list[str]:
    from ce_detect.explain.methods import METHODS

    return [name for name, method in METHODS.items() if not method.gradients]
