"""From a decoded image to one input of a gate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.data import validation
from ce_detect.data.images import gathered
from ce_detect.data.resizing import resized
from ce_detect.runtime.graph import Described


def one_input(image: NDArray[Any], name: str, described: Described, *, uint8: bool) -> NDArray[Any]:
    """Return an image as the graph takes it.

    Args:
        image: as `ce_detect.data.decoding.decoded` gives it: uint8 ``(height, width, 1 or 3)`` of any size where the
            gate knows how to resize it, or floats ``(channels, height, width)``.
        name: what errors call it.
        described: what the graph takes.
        uint8: whether it takes uint8.

    Raises:
        InputError: it is no input of this gate.
        MissingExtraError: it is to be resized, and Pillow is not installed.
    """
    if image.dtype != np.uint8:
        return _checked(image, name, described, uint8)
    channels, *size = described.input_shape
    if described.resizing is not None:
        image = resized(image, described.resizing, name)
    if channels == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape != (*size, channels):
        raise InputError(
            f"the image is {image.shape[1]}x{image.shape[0]} pixels in {'colour' if image.shape[2] == 3 else 'grey'}, "
            f"the gate takes {size[1]}x{size[0]} in {'grey' if channels == 1 else 'colour'}; convert it"
            + ("" if described.resizing else ", or calibrate with --resize and --crop")
        )
    return image if uint8 else gathered(image[None], None, name).within(described.bounds).x[0]


def _checked(image: NDArray[Any], name: str, described: Described, uint8: bool) -> NDArray[Any]:
    if uint8:
        raise InputError(f"{name} is {image.dtype}, the gate takes bytes 0-255 (uint8)")
    shape, bounds = described.input_shape, described.bounds
    validation.check_form((1, *image.shape), image.dtype, floating=True, input_shape=shape, bounds=bounds)
    validation.check_values(
        float(image.min()), float(image.max()), bounds, 1, lambda: validation.not_finite(image[None])
    )
    return image
