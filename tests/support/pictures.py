"""Image files, and images by which they are known again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ce_detect.data import Images

GREY = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)

COLOUR = np.arange(6 * 4 * 5 * 3, dtype=np.uint16).astype(np.uint8).reshape(6, 4, 5, 3)

FLOATS = np.linspace(-2, 2, 6 * 3 * 4 * 5, dtype=np.float32).reshape(6, 3, 4, 5)

LABELS = np.array([0, 1, 2, 0, 1, 2])


def npz(path: Path, **arrays: object) -> Path:
    """Write arrays under their names and return the path."""
    np.savez_compressed(path, **arrays)
    return path


def picture(path: Path, pixels: NDArray[np.generic], mode: str | None = None) -> None:
    """Write one image file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


def labels_of(images: Images) -> list[int]:
    """Labels that must be there."""
    assert images.y is not None
    return images.y.tolist()
