"""do(move the pixels or the feature map): flip, shift, rotate, zoom."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.interventions.base import Intervention, Range
from ce_detect.interventions.resolution import resize


class Flip(Intervention):
    """Mirror left and right, at ``scale`` of the resolution (1.0: as it is)."""

    family = "geometry"
    latents = True

    def __init__(self, *, site: str = INPUT, scale: float = 1.0) -> None:
        super().__init__(site=site, scale=scale)

    def forward(self, h: Tensor) -> Tensor:
        """Mirror, see `Intervention.forward`."""
        return resize(h, float(self.settings["scale"])).flip(-1)


class Shift(Intervention):
    """Move by whole cells, ``dx`` to the right and ``dy`` down; the edge is repeated."""

    family = "geometry"
    latents = True
    ranges: ClassVar = {"dx": Range(whole=True), "dy": Range(whole=True)}

    def __init__(self, *, site: str = INPUT, dx: int = 1, dy: int = 0, scale: float = 1.0) -> None:
        super().__init__(site=site, dx=dx, dy=dy, scale=scale)

    def forward(self, h: Tensor) -> Tensor:
        """Move, see `Intervention.forward`."""
        dx, dy = int(self.settings["dx"]), int(self.settings["dy"])
        h = resize(h, float(self.settings["scale"]))
        height, width = h.shape[-2:]
        padded = F.pad(h, (max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0)), mode="replicate")
        return padded[..., max(-dy, 0) : max(-dy, 0) + height, max(-dx, 0) : max(-dx, 0) + width]


class Rotate(Intervention):
    """Rotate by ``degrees`` about the centre; the edge is repeated."""

    family = "geometry"
    latents = True
    ranges: ClassVar = {"degrees": Range(-360, 360)}

    def __init__(self, *, site: str = INPUT, degrees: float = 5.0) -> None:
        super().__init__(site=site, degrees=degrees)

    def forward(self, h: Tensor) -> Tensor:
        """Rotate, see `Intervention.forward`."""
        angle = math.radians(float(self.settings["degrees"]))
        return _affine(h, math.cos(angle), math.sin(angle))


class Zoom(Intervention):
    """Enlarge about the centre by ``factor`` and crop to the old size."""

    family = "geometry"
    latents = True
    ranges: ClassVar = {"factor": Range(0, above=True)}

    def __init__(self, *, site: str = INPUT, factor: float = 1.1) -> None:
        super().__init__(site=site, factor=factor)

    def forward(self, h: Tensor) -> Tensor:
        """Enlarge, see `Intervention.forward`."""
        return _affine(h, 1 / float(self.settings["factor"]), 0.0)


def _affine(h: Tensor, cosine: float, sine: float) -> Tensor:
    matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], device=h.device, dtype=h.dtype)
    grid = F.affine_grid(matrix.expand(h.shape[0], 2, 3), list(h.shape), align_corners=False)
    return F.grid_sample(h, grid, padding_mode="border", align_corners=False)
