"""Layer consistency: how well the pooled features of early sites follow from what the classifier made of them.

On clean inputs, what a deep layer holds tells much of what the early layers held. A perturbation that changes a few
layers a lot breaks this relation there (*Recovery Testing* of Yun et al. 2025, arXiv 2505.12586). It costs no forward
pass, and needs no attack to learn from, see `ce_detect.fitting.layer_consistency`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.core.errors import CalibrationError
from ce_detect.features.activations import moments

FLOOR = 1e-6
"""Added to a mean squared error before its logarithm."""


class LayerConsistency(nn.Module):
    """A linear map from the channel means and deviations of the deepest site to those of each earlier one.

    All are standardised with clean means and deviations. The statistic of a site is the logarithm of the mean squared
    error of its prediction, in units of the error on clean images.

    Attributes:
        sites: the sites, in the order of computation; all others are predicted from the last.
        widths: number of pooled features of each site.
        names: one name a statistic.
        center, scale: of all pooled features, ``(sum(widths),)``.
        weight: ``(widths[-1], sum(widths[:-1]))``.
        error: root mean squared error of each predicted feature on clean images, ``(sum(widths[:-1]),)``.
    """

    center: Tensor
    scale: Tensor
    weight: Tensor
    error: Tensor

    def __init__(self, sites: tuple[str, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        if len(sites) < 2 or len(sites) != len(widths):
            raise CalibrationError(
                f"layer consistency needs two sites or more and a width for each, got {sites} and {widths}"
            )
        self.sites = tuple(sites)
        self.widths = tuple(widths)
        self.names = tuple(f"trace.layer-consistency[{site}]" for site in self.sites[:-1])
        early = sum(widths[:-1])
        self.register_buffer("center", torch.zeros(sum(widths)))
        self.register_buffer("scale", torch.ones(sum(widths)))
        self.register_buffer("weight", torch.zeros(widths[-1], early))
        self.register_buffer("error", torch.ones(early))

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
    return latent if latent.ndim == 2 else torch.cat(moments(latent), dim=1)
