"""What lies on a lens, is written into an image, or comes of photographing a screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Floats
from ce_detect.data.corruptions import codecs, geometry
from ce_detect.data.corruptions.pictures import as_picture, pillow


def dust(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """Three soft dark spots, each of this share of the shorter side."""
    height, width = pixels.shape[1:]
    y, x = np.mgrid[:height, :width]
    changed = pixels.copy()
    for _ in range(3):
        middle = generator.random(2) * (height, width)
        distance = np.hypot(y - middle[0], x - middle[1]) / (share * min(height, width))
        changed *= 1 - 0.4 * np.exp(-(distance**2))
    return changed


def text(pixels: Floats, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """A line of digits in a corner, as cameras stamp dates, of this share of the height."""
    height, width = pixels.shape[1:]
    size = max(4, round(share * height))
    written = "".join(map(str, generator.integers(0, 10, 4)))
    place = (generator.integers(0, 2) * (width - 2 * size), generator.integers(0, 2) * (height - size))

    def stamped(drawn: Any) -> Any:
        font = pillow("ImageFont").load_default(size)
        bright = 255 if drawn.mode == "L" else (255, 230, 120)
        pillow("ImageDraw").Draw(drawn).text(place, written, fill=bright, font=font, anchor="la")
        return drawn

    return as_picture(pixels, stamped)


def screen(pixels: Floats, amount: float, generator: np.random.Generator) -> NDArray[Any]:
    """Shown on a screen and photographed: from the side, with a faint pattern of lines, as JPEG."""
    height, width = pixels.shape[1:]
    y, x = np.mgrid[:height, :width]
    period, angle = generator.uniform(2.2, 5.0), generator.uniform(0, np.pi)
    lines = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    seen = geometry.perspective(pixels, amount, generator) * (1 + amount * lines)
    return codecs.jpeg(seen.astype(np.float32), 85, generator)
