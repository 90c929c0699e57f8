"""What files lose: compressed, or in fewer levels. Encoders are Pillow's."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats
from ce_detect.data.corruptions.pictures import as_picture, pillow


def jpeg(pixels: Floats, quality: float, generator: np.random.Generator) -> NDArray[Any]:
    """Saved as JPEG and read again."""
    return _through(pixels, "JPEG", quality)


def webp(pixels: Floats, quality: float, generator: np.random.Generator) -> NDArray[Any]:
    """Saved as WebP and read again."""
    return _through(pixels, "WEBP", quality)


def avif(pixels: Floats, quality: float, generator: np.random.Generator) -> NDArray[Any]:
    """Saved as AVIF and read again."""
    return _through(pixels, "AVIF", quality)


def posterise(pixels: Floats, levels: float, generator: np.random.Generator) -> NDArray[Any]:
    """So many levels in the place of 256."""
    steps = round(levels) - 1
    return np.asarray(np.round(pixels * steps) / steps)


def _through(pixels: Floats, codec: str, quality: float) -> NDArray[Any]:
    def stored(drawn: Any) -> Any:
        buffer = io.BytesIO()
        try:
            drawn.save(buffer, codec, quality=round(quality))
        except (KeyError, OSError) as error:
            raise CalibrationError(
                f"this Pillow cannot write {codec}: pip install --upgrade pillow, or leave the kind out"
            ) from error
        return pillow("Image").open(buffer).convert(drawn.mode)

    return as_picture(pixels, stored)
