"""do(set part of a hidden layer): scale, clip or ablate, so that only what follows runs again."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.interventions.base import Intervention


class Scale(Intervention):
    """Multiply the hidden tensor by ``factor``."""

    family = "latent"
    label_preserving = False
    latents = True

    def __init__(self, *, site: str, factor: float = 0.5) -> None:
        super().__init__(site=site, factor=factor)

    def forward(self, h: Tensor) -> Tensor:
        """Multiply, see `Intervention.forward`."""
        return h * float(self.settings["factor"])


class Clip(Intervention):
    """Limit each channel to ``spread`` standard deviations about its mean over the positions."""

    family = "latent"
    latents = True

    def __init__(self, *, site: str, spread: float = 1.5) -> None:
        super().__init__(site=site, spread=spread)

    def forward(self, h: Tensor) -> Tensor:
        """Limit, see `Intervention.forward`."""
        mean = h.mean(dim=(2, 3), keepdim=True)
        reach = float(self.settings["spread"]) * h.std(dim=(2, 3), correction=0, keepdim=True)
        return torch.minimum(torch.maximum(h, mean - reach), mean + reach)


class AblateChannels(Intervention):
    """Set one of ``groups`` equal groups of channels to their mean over the positions, each group in its own draw."""

    family = "latent"
    label_preserving = False
    latents = True
    paper = "Debbi 2024, CausAdv; Yang et al. 2019, arXiv 1902.03380"

    def __init__(self, *, site: str, groups: int = 4) -> None:
        super().__init__(site=site, draws=groups, groups=groups)

    def forward(self, h: Tensor) -> Tensor:
        """Ablate, see `Intervention.forward`."""
        member = torch.arange(h.shape[1], device=h.device) % self.draws
        keep = (member != torch.arange(self.draws, device=h.device).view(-1, 1)).to(h.dtype)
        keep = keep.view(self.draws, 1, -1, 1, 1)
        return (keep * h.unsqueeze(0) + (1 - keep) * h.mean(dim=(2, 3), keepdim=True)).flatten(0, 1)
