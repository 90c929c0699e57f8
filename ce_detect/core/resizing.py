"""How image files of any size come to the size of a classifier's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from ce_detect.core.errors import UsageError

Size = int | tuple[int, int]
"""Pixels: one number, see `Resizing`, or ``(height, width)``."""

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Filters of Pillow, which smooth before they shrink."""

INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Their names."""


class Region(NamedTuple):
    """Part of an image, in shares of its height and its width."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, slots=True)
class Resizing:
    """Resize, then crop, as the training of the classifier did. Sizes and places are rounded as torchvision does it.

    Attributes:
        resize: a number brings the shorter side to it and keeps the proportions; ``(height, width)`` keeps none; None
            leaves images as they are.
        crop: ``(height, width)`` around the middle, or one number for both; None keeps all.
        interpolation: filter of the resize.

    Raises:
        UsageError: nothing is asked for, a size is not positive, or a crop is larger than what it is cut from.
    """

    resize: Size | None = None
    crop: Size | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        asked = f"resize = {self.resize}, crop = {self.crop}"
        if self.resize is None and self.crop is None:
            raise UsageError(f"{asked}: give one of them at least")
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(f"interpolation = {self.interpolation!r}, expected one of {', '.join(INTERPOLATIONS)}")
        sizes = [_pair(size) for size in (self.resize, self.crop) if size is not None]
        if min(side for size in sizes for side in size) < 1:
            raise UsageError(f"{asked}: expected sizes of at least 1 pixel")
        if len(sizes) == 2 and any(cut > side for cut, side in zip(sizes[1], sizes[0], strict=True)):
            raise UsageError(f"{asked}: a crop cannot be larger than what it is cut from; make it at most the resize")

    @classmethod
    def of(
        cls, resize: Size | None = None, crop: Size | None = None, interpolation: Interpolation = "bilinear"
    ) -> Self | None:
        """Make one; None where neither size is asked for."""
        return None if resize is None and crop is None else cls(resize, crop, interpolation)

    @property
    def size(self) -> tuple[int, int] | None:
        """``(height, width)`` that every image gets; None where it depends on the image."""
        return self.cut or (None if isinstance(self.resize, int) else self.resize)

    @property
    def cut(self) -> tuple[int, int] | None:
        """``(height, width)`` of the crop."""
        return None if self.crop is None else _pair(self.crop)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image after the resize."""
        if not isinstance(self.resize, int):
            return self.resize or (height, width)
        shorter = min(height, width)
        return self.resize * height // shorter, self.resize * width // shorter

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the crop in an image after the resize; below 0 where the image is too small."""
        tall, wide = self.cut or (height, width)
        return round((height - tall) / 2), round((width - wide) / 2)

    def shown(self, height: int, width: int) -> Region:
        """The part of an image of this height and width that the classifier sees."""
        size = self.resized(height, width)
        tall, wide = self.cut or size
        top, left = self.corner(*size)
        return Region(top / size[0], left / size[1], tall / size[0], wide / size[1])


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
