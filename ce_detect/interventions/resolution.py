"""do(see less detail): a smaller input, kept small where the classifier takes it, or a pooled feature map."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.interventions.base import Intervention, Range


class Downscale(Intervention):
    """Shrink to ``scale`` of height and width and, with ``restore``, enlarge again.

    A fully convolutional classifier takes the small image as it is, for about ``scale ** 2`` of a forward pass.
    """

    family = "resolution"
    ranges: ClassVar = {"restore": (False, True)}

    def __init__(self, *, site: str = INPUT, scale: float = 0.75, restore: bool = False) -> None:
        super().__init__(site=site, scale=scale, restore=restore)

    def forward(self, h: Tensor) -> Tensor:
        """Shrink, see `Intervention.forward`."""
        small = resize(h, float(self.settings["scale"]))
        if not self.settings["restore"]:
            return small
        return F.interpolate(small, size=h.shape[-2:], mode="bilinear", align_corners=False)


class Pool(Intervention):
    """Average (or ``mode="max"``) each block of ``size`` by ``size`` cells of a feature map, and keep it small."""

    family = "resolution"
    latents = True
    ranges: ClassVar = {"size": Range(2, 2**16, whole=True), "mode": ("mean", "max")}

    def __init__(self, *, site: str = INPUT, size: int = 2, mode: str = "mean") -> None:
        super().__init__(site=site, size=size, mode=mode)

    def forward(self, h: Tensor) -> Tensor:
        """Pool, see `Intervention.forward`."""
        size = int(self.settings["size"])
        if self.settings["mode"] == "max":
            return F.max_pool2d(h, size)
        return F.avg_pool2d(h, size)


def resize(h: Tensor, scale: float) -> Tensor:
    """Resize ``(batch, channels, height, width)`` to ``scale`` of height and width, bilinearly."""
    if scale == 1.0:
        return h
    height, width = (max(1, round(int(side) * scale)) for side in h.shape[-2:])
    return F.interpolate(h, size=(height, width), mode="bilinear", align_corners=False, antialias=False)
