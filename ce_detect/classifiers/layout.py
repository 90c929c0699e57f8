"""Maps whose channels come last, as in Swin and many ONNX files: at a site they come first, like those of all others.

Interventions move and blur positions and leave out channels. They must not take one for the other.
"""

from __future__ import annotations

from torch import Tensor, nn


def channels_last(shape: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Whether a tensor is a map ``(height, width, channels)``, as far as its shape can tell.

    The sides of a map are in the ratio of the image's. Where height, width and channels could be either, they come
    first.

    Args:
        shape: of the tensor, without the batch.
        image: ``(channels, height, width)`` of the input.
    """
    _, height, width = image

    def sides(first: int, second: int) -> bool:
        return abs(first * width - second * height) < max(height, width)  # but for rounding to whole cells

    return len(shape) == 3 and sides(*shape[:2]) and not sides(*shape[1:])


def to_first(h: Tensor) -> Tensor:
    """From ``(batch, height, width, channels)`` to ``(batch, channels, height, width)``, without a copy."""
    return h.permute(0, 3, 1, 2)


def to_last(h: Tensor) -> Tensor:
    """From ``(batch, channels, height, width)`` to ``(batch, height, width, channels)``, without a copy."""
    return h.permute(0, 2, 3, 1)


class Turned(nn.Module):
    """Part of a model that takes, or returns, a map whose channels come last; around it they come first."""

    def __init__(self, part: nn.Module, *, takes: bool, returns: bool) -> None:
        super().__init__()
        self.part, self.takes, self.returns = part, takes, returns

    def forward(self, h: Tensor) -> Tensor:
        """Run the part."""
        h = self.part(to_last(h) if self.takes else h)
        return to_first(h) if self.returns else h
