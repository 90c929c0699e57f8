"""do(develop the picture differently): bit depth, median, blur, contrast, grey."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.interventions.base import Intervention, Range
from ce_detect.interventions.resolution import resize


class BitDepth(Intervention):
    """Round pixels to ``2 ** bits`` levels between the bounds, then shrink to ``scale`` of the resolution.

    The gradient passes straight through the rounding.
    """

    family = "photometric"
    paper = "Xu et al. 2018, Feature Squeezing, arXiv 1704.01155"
    ranges: ClassVar = {"bits": Range(1, 16, whole=True)}

    def __init__(
        self, *, site: str = INPUT, bits: int = 4, low: float = 0.0, high: float = 1.0, scale: float = 1.0
    ) -> None:
        super().__init__(site=site, bits=bits, low=low, high=high, scale=scale)

    def forward(self, h: Tensor) -> Tensor:
        """Round, see `Intervention.forward`."""
        low, high = float(self.settings["low"]), float(self.settings["high"])
        levels = 2 ** int(self.settings["bits"]) - 1
        rounded = torch.round((h - low) / (high - low) * levels) / levels * (high - low) + low
        return resize(h + (rounded - h).detach(), float(self.settings["scale"]))


class Median(Intervention):
    """Median of each ``size`` by ``size`` neighbourhood, the edge repeated."""

    family = "photometric"
    latents = True
    paper = "Xu et al. 2018, Feature Squeezing, arXiv 1704.01155"
    ranges: ClassVar = {"size": Range(2, 15, whole=True)}

    def __init__(self, *, site: str = INPUT, size: int = 3) -> None:
        super().__init__(site=site, size=size)

    def forward(self, h: Tensor) -> Tensor:
        """Take medians, see `Intervention.forward`."""
        size = int(self.settings["size"])
        before, after = (size - 1) // 2, size // 2
        padded = F.pad(h, (before, after, before, after), mode="replicate")
        height, width = h.shape[-2:]
        shifted = [padded[..., i : i + height, j : j + width] for i in range(size) for j in range(size)]
        lower_half = torch.stack(shifted).topk((size * size + 1) // 2, dim=0, largest=False).values
        return lower_half[-1]  # no torch.median: ONNX has none


class Blur(Intervention):
    """Gaussian blur with standard deviation ``sigma``, in cells; the edge is repeated."""

    family = "photometric"
    latents = True
    ranges: ClassVar = {"sigma": Range(0, 2**12, above=True)}

    kernel: Tensor

    def __init__(self, *, site: str = INPUT, sigma: float = 0.7) -> None:
        super().__init__(site=site, sigma=sigma)
        radius = max(1, round(2.5 * sigma))
        line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
        self.register_buffer("kernel", line / line.sum(), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Blur, see `Intervention.forward`."""
        channels, radius = h.shape[1], len(self.kernel) // 2
        line = self.kernel.to(h.dtype)
        padded = F.pad(h, (radius, radius, radius, radius), mode="replicate")
        across = F.conv2d(padded, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
        return F.conv2d(across, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


class Contrast(Intervention):
    """Scale each image's distance from its own mean by ``factor``."""

    family = "photometric"
    latents = True
    tokens = True
    ranges: ClassVar = {"factor": Range()}

    def __init__(self, *, site: str = INPUT, factor: float = 0.7) -> None:
        super().__init__(site=site, factor=factor)

    def forward(self, h: Tensor) -> Tensor:
        """Scale, see `Intervention.forward`."""
        mean = h.mean(dim=tuple(range(1, h.ndim)), keepdim=True)
        return mean + float(self.settings["factor"]) * (h - mean)


class Grey(Intervention):
    """Replace colours by their mean over the channels."""

    family = "photometric"

    def __init__(self, *, site: str = INPUT) -> None:
        super().__init__(site=site)

    def forward(self, h: Tensor) -> Tensor:
        """Remove colour, see `Intervention.forward`."""
        return h.mean(dim=1, keepdim=True).expand_as(h)
