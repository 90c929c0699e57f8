"""LayerConsistency error: how badly the pooled features of early sites follow from what the classifier made of them.

On clean inputs, what a deep layer holds tells much of what the early layers held. A perturbation that changes a few
layers a lot breaks this relation there (*LayerConsistency Testing* of Yun et al. 2025, arXiv 2505.12586). It costs no forward
pass, and needs no attack to learn from.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ce_detect.classifiers.base import positions
from ce_detect.core.errors import CalibrationError

RIDGE = 0.1
"""Ridge penalty on standardised inputs, relative to the number of images."""

FLOOR = 1e-6
"""Added to a mean squared error before its logarithm."""


class LayerConsistency(nn.Module):
    """A linear map from the channel means and deviations of the deepest site to those of each earlier one.

    All are standardised with clean means and deviations. The statistic of a site is the logarithm of the mean squared
    error of its recovery, in units of the error on clean images.

    Attributes:
        sites: the sites, in the order of computation; the last is recovered from, all others are recovered.
        widths: number of pooled features of each site.
        names: one name a statistic.
        center, scale: of all pooled features, ``(sum(widths),)``.
        weight: ``(widths[-1], sum(widths[:-1]))``.
        error: root mean squared error of each recovered feature on clean images, ``(sum(widths[:-1]),)``.
    """

    center: Tensor
    scale: Tensor
    weight: Tensor
    error: Tensor

    def __init__(self, sites: tuple[str, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        if len(sites) < 2 or len(sites) != len(widths):
            raise CalibrationError(f"recovery needs two sites or more and a width for each, got {sites} and {widths}")
        self.sites = tuple(sites)
        self.widths = tuple(widths)
        self.names = tuple(f"trace.layer-consistency[{site}]" for site in self.sites[:-1])
        early = sum(widths[:-1])
        self.register_buffer("center", torch.zeros(sum(widths)))
        self.register_buffer("scale", torch.ones(sum(widths)))
        self.register_buffer("weight", torch.zeros(widths[-1], early))
        self.register_buffer("error", torch.ones(early))

    @classmethod
    def fit(cls, sites: tuple[str, ...], pooled: list[NDArray[Any]]) -> Self:
        """Learn from clean images.

        Args:
            sites: see `LayerConsistency`.
            pooled: for each site what `pool` gives, ``(n, width)``.
        """
        made = cls(sites, tuple(part.shape[1] for part in pooled))
        rows = np.concatenate(pooled, axis=1).astype(np.float64)
        center, scale = rows.mean(0), rows.std(0)
        scale = np.where(scale > 1e-6 * np.abs(center) + 1e-12, scale, 1.0)
        standard = (rows - center) / scale
        deep = made.widths[-1]
        early, late = standard[:, :-deep], standard[:, -deep:]
        grams = late.T @ late + RIDGE * len(rows) * np.eye(deep)
        weight = np.linalg.solve(grams, late.T @ early)
        error = np.sqrt(np.square(early - late @ weight).mean(0)) + 1e-3
        for name, value in (("center", center), ("scale", scale), ("weight", weight), ("error", error)):
            made.get_buffer(name).copy_(torch.from_numpy(value))
        return made

    def spec(self) -> dict[str, Any]:
        """Everything but the tensors, as plain data: the arguments of `LayerConsistency`."""
        return {"sites": list(self.sites), "widths": list(self.widths)}

    def forward(self, latents: dict[str, Tensor]) -> Tensor:
        """Return ``(batch, len(sites) - 1)`` statistics from latents by site."""
        pooled = torch.cat([pool(latents[site]) for site in self.sites], dim=1)
        standard = (pooled - self.center) / self.scale
        deep = self.widths[-1]
        missed = ((standard[:, :-deep] - standard[:, -deep:] @ self.weight) / self.error).square()
        return torch.stack([torch.log(part.mean(1) + FLOOR) for part in missed.split(self.widths[:-1], dim=1)], dim=1)


def pool(latent: Tensor) -> Tensor:
    """Channel means and deviations over the positions, ``(batch, 2 * channels)``; vectors ``(batch, width)`` stay."""
    if latent.ndim == 2:
        return latent
    mean = latent.mean(positions(latent))
    square = latent.square().mean(positions(latent))
    return torch.cat([mean, (square - mean.square()).clamp_min(0).add(1e-12).sqrt()], dim=1)
