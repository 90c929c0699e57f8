"""do(hide part of the picture): cells of a grid, smooth random masks and their reverse, or masks that are learned."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ce_detect.classifiers.base import INPUT, positions
from ce_detect.core.types import BASELINES
from ce_detect.interventions.base import Intervention, LearnedIntervention, Range, Resume, check_size, shape_of


def noise_pattern(seed: int) -> Tensor:
    """Noise ``(1, 1, 32, 32)`` for the baseline of that name."""
    return torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(seed + 1))


def baseline_of(h: Tensor, kind: str, noise: Tensor) -> Tensor:
    """What is put in the place of what is hidden, of the shape of ``h``.

    Args:
        h: picture or feature map ``(batch, channels, height, width)``.
        kind: one of `ce_detect.core.types.BASELINES`.
        noise: see `noise_pattern`.
    """
    mean = h.mean(dim=(2, 3), keepdim=True)
    if kind == "mean":
        return mean.expand_as(h)
    if kind == "blur":
        return F.avg_pool2d(F.pad(h, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    spread = h.std(dim=(2, 3), correction=0, keepdim=True)
    pattern = F.interpolate(noise.to(h.dtype), size=h.shape[-2:], mode="nearest")
    least, largest = h.amin(dim=(1, 2, 3), keepdim=True), h.amax(dim=(1, 2, 3), keepdim=True)
    return torch.clamp(mean + spread * pattern, min=least, max=largest)


class _Mask(Intervention):
    """Blend the tensor with a baseline: where the mask is 1 the tensor stays, where it is 0 the baseline shows."""

    family = "masking"
    label_preserving = False
    latents = True
    ranges: ClassVar = {
        "cells": Range(1, 64, whole=True),
        "keep": Range(0, 1),
        "reverse": (False, True),
        "baseline": BASELINES,
    }

    noise: Tensor

    def _draw_noise(self, seed: int) -> None:
        self.register_buffer("noise", noise_pattern(seed), persistent=False)

    def _masks(self, height: int, width: int) -> Tensor:
        """Masks ``(draws, 1, 1, height, width)`` in [0, 1]."""
        raise NotImplementedError

    def forward(self, h: Tensor) -> Tensor:
        """Blend, see `Intervention.forward`."""
        masks = self._masks(h.shape[-2], h.shape[-1]).to(h.dtype)
        if self.settings["reverse"]:
            masks = 1 - masks
        baseline = baseline_of(h, str(self.settings["baseline"]), self.noise)
        return (masks * h.unsqueeze(0) + (1 - masks) * baseline).flatten(0, 1)


class GridMask(_Mask):
    """Hide one cell of a ``cells`` by ``cells`` grid at a time; with ``reverse``, show only that cell."""

    paper = "Yang et al. 2019, arXiv 1902.03380; reversed masks: Kim, Kim, Ro, IEEE TIP 31:301-313"

    cell: Tensor

    def __init__(
        self, *, site: str = INPUT, cells: int = 2, reverse: bool = False, baseline: str = "mean", seed: int = 0
    ) -> None:
        super().__init__(site=site, cells=cells, reverse=reverse, baseline=baseline, seed=seed)
        self.draws = cells * cells
        self._draw_noise(seed)
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
        self._draw_noise(seed)
        generator = torch.Generator().manual_seed(seed)
        shown = torch.rand(draws, 1, cells, cells, generator=generator) < keep
        self.register_buffer("grid", shown.float())

    def _masks(self, height: int, width: int) -> Tensor:
        return F.interpolate(self.grid, size=(height, width), mode="bilinear", align_corners=False).unsqueeze(1)


class LearnedMask(LearnedIntervention):
    """Multiply by ``draws`` learned masks that change the tensor much and the decision little, on clean images.

    Clean decisions stand that change and attacked ones do not. The masks start near 1 and are learned by the loss of
    *Logit-layer Testing*: the log of the mean squared distance of the new softmax from the old decision, minus the
    log of the mean squared change of the channel means at the site, relative to their mean square. (The factor
    entropy of the paper does not depend on the masks; equal starts, as in its code, would keep all masks equal.)
    """

    family = "masking"
    label_preserving = False
    latents = True
    tokens = True
    learning_rate = 0.02
    paper = "Yun et al. 2025, A Few Large Shifts, arXiv 2505.12586"

    def __init__(self, *, shape: str, site: str = INPUT, draws: int = 2) -> None:
        super().__init__(site=site, draws=draws, shape=shape)
        self.settings["draws"] = draws
        sides = shape_of(shape)
        check_size("LearnedMask", draws, *sides)
        self.mask = nn.Parameter(torch.ones(draws, 1, *sides), requires_grad=False)

    def forward(self, h: Tensor) -> Tensor:
        """Multiply, see `Intervention.forward`."""
        return (self.mask.to(h.dtype) * h.unsqueeze(0)).flatten(0, 1)

    def start(self, h: Tensor, generator: torch.Generator) -> None:
        """Start at 1, give or take a tenth."""
        self.mask.copy_(1 + 0.1 * torch.randn(self.mask.shape, generator=generator))
        self.project()

    def loss(self, h: Tensor, z: Tensor, resume: Resume, *, multi_label: bool = False) -> Tensor:
        """Log ratio of the change of the decision to that of the tensor, see `LearnedIntervention.loss`."""
        masked = self(h)
        z_do = resume(masked)
        p = (z_do.sigmoid() if multi_label else z_do.softmax(1)).unflatten(0, (self.draws, -1))
        decision = (z > 0 if multi_label else F.one_hot(z.argmax(1), z.shape[1])).to(p.dtype)
        pooled = h.mean(positions(h))
        change = masked.mean(positions(h)).unflatten(0, (self.draws, -1)) - pooled
        moved = change.square().mean(-1) / (pooled.square().mean(-1) + 1e-12)
        ratio = torch.log((p - decision).square().mean(-1) + 1e-8) - torch.log(moved + 1e-8)
        return ratio.mean()

    def project(self) -> None:
        """Keep the masks in [0, 2]; at the input in [0, 1], so that pixels stay within bounds that contain 0."""
        self.mask.clamp_(0, 1 if self.site == INPUT else 2)
