"""do(hide part of the picture): cells of a grid or smooth random masks; their reverse keeps only that part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.interventions.base import Intervention

_BASELINES = ("mean", "blur", "noise")


class _Mask(Intervention):
    """Blend the tensor with a baseline: where the mask is 1 the tensor stays, where it is 0 the baseline shows."""

    family = "masking"
    label_preserving = False
    latents = True

    noise: Tensor

    def _check(self, baseline: str, seed: int) -> None:
        if baseline not in _BASELINES:
            raise ValueError(f"baseline {baseline!r} is none of {', '.join(_BASELINES)}")
        generator = torch.Generator().manual_seed(seed + 1)
        self.register_buffer("noise", torch.randn(1, 1, 32, 32, generator=generator), persistent=False)

    def _masks(self, height: int, width: int) -> Tensor:
        """Masks ``(draws, 1, 1, height, width)`` in [0, 1]."""
        raise NotImplementedError

    def forward(self, h: Tensor) -> Tensor:
        """Blend, see `Intervention.forward`."""
        masks = self._masks(h.shape[-2], h.shape[-1]).to(h.dtype)
        if self.settings["reverse"]:
            masks = 1 - masks
        return (masks * h.unsqueeze(0) + (1 - masks) * self._baseline(h)).flatten(0, 1)

    def _baseline(self, h: Tensor) -> Tensor:
        mean = h.mean(dim=(2, 3), keepdim=True)
        if self.settings["baseline"] == "mean":
            return mean.expand_as(h)
        if self.settings["baseline"] == "blur":
            return F.avg_pool2d(F.pad(h, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        spread = h.std(dim=(2, 3), correction=0, keepdim=True)
        pattern = F.interpolate(self.noise.to(h.dtype), size=h.shape[-2:], mode="nearest")
        least, largest = h.amin(dim=(1, 2, 3), keepdim=True), h.amax(dim=(1, 2, 3), keepdim=True)
        return torch.clamp(mean + spread * pattern, min=least, max=largest)


class GridMask(_Mask):
    """Hide one cell of a ``cells`` by ``cells`` grid at a time; with ``reverse``, show only that cell."""

    paper = "Yang et al. 2019, arXiv 1902.03380; reversed masks: Kim, Kim, Ro, IEEE TIP 31:301-313"

    cell: Tensor

    def __init__(
        self, *, site: str = INPUT, cells: int = 2, reverse: bool = False, baseline: str = "mean", seed: int = 0
    ) -> None:
        super().__init__(site=site, draws=cells * cells, cells=cells, reverse=reverse, baseline=baseline, seed=seed)
        self._check(baseline, seed)
        self.register_buffer("cell", 1 - torch.eye(cells * cells).view(-1, 1, 1, cells, cells), persistent=False)

    def _masks(self, height: int, width: int) -> Tensor:
        return F.interpolate(self.cell.squeeze(1), size=(height, width), mode="nearest").unsqueeze(1)


class RandomMask(_Mask):
    """Hide smooth random regions: ``draws`` coarse grids, enlarged, each cell shown with probability ``keep``."""

    deterministic = False
    paper = "Petsiuk et al. 2018, RISE, arXiv 1806.07421"

    grid: Tensor

    def __init__(
        self, *, site: str = INPUT, draws: int = 2, cells: int = 4, keep: float = 0.7, reverse: bool = False,
        baseline: str = "mean", seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(site=site, draws=draws, cells=cells, keep=keep, reverse=reverse, baseline=baseline, seed=seed)
        self.settings["draws"] = draws
        self._check(baseline, seed)
        generator = torch.Generator().manual_seed(seed)
        shown = torch.rand(draws, 1, cells, cells, generator=generator) < keep
        self.register_buffer("grid", shown.float())

    def _masks(self, height: int, width: int) -> Tensor:
        return F.interpolate(self.grid, size=(height, width), mode="bilinear", align_corners=False).unsqueeze(1)
