"""Maps in the size of the images that inputs were made of by a resize and a crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ce_detect.core.resizing import Region
from ce_detect.core.types import Floats


def described(image: NDArray[np.uint8], part: Region) -> dict[str, Any]:
    """Plain data: the size of an image ``(height, width, channels)``, and the part that is shown, in its pixels."""
    height, width = image.shape[:2]
    seen = {name: round(share * (height, width)[i % 2], 2) for i, (name, share) in enumerate(part._asdict().items())}
    return {"height": height, "width": width, "shown": seen}


def enlarged(values: Floats, size: tuple[int, int], part: Region) -> Floats:
    """A map in the size of the image that its input was made of.

    Args:
        values: a map ``(height, width)`` in the size of an input.
        size: height and width of the image.
        part: of the image that the classifier sees.

    Returns:
        The map, bilinear; NaN where the classifier does not see the image.
    """
    rows, columns = (_places(part[i], part[i + 2], size[i]) for i in range(2))
    whole = np.full(size, np.nan, np.float32)
    seen = whole[rows, columns]
    seen[:] = F.interpolate(torch.as_tensor(values)[None, None], seen.shape, mode="bilinear", antialias=True)[0, 0]
    return whole


def _places(start: float, length: float, side: int) -> slice:
    """Pixels along a side that a part of it covers, one at least."""
    first = min(round(start * side), side - 1)
    return slice(first, max(first + 1, round((start + length) * side)))
