"""do(set part of a hidden layer): scale or clip it, ablate channels or drop tokens; only what follows runs again."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ce_detect.classifiers.base import positions
from ce_detect.interventions.base import Intervention, Range


class Scale(Intervention):
    """Multiply the hidden tensor by ``factor``."""

    family = "latent"
    label_preserving = False
    latents = True
    tokens = True
    ranges: ClassVar = {"factor": Range()}

    def __init__(self, *, site: str, factor: float = 0.5) -> None:
        super().__init__(site=site, factor=factor)

    def forward(self, h: Tensor) -> Tensor:
        """Multiply, see `Intervention.forward`."""
        return h * float(self.settings["factor"])


class Clip(Intervention):
    """Limit each channel to ``spread`` standard deviations about its mean over the positions."""

    family = "latent"
    latents = True
    tokens = True
    ranges: ClassVar = {"spread": Range(0, above=True)}

    def __init__(self, *, site: str, spread: float = 1.5) -> None:
        super().__init__(site=site, spread=spread)

    def forward(self, h: Tensor) -> Tensor:
        """Limit, see `Intervention.forward`."""
        mean = h.mean(positions(h), keepdim=True)
        reach = float(self.settings["spread"]) * h.std(positions(h), correction=0, keepdim=True)
        return torch.minimum(torch.maximum(h, mean - reach), mean + reach)


class AblateChannels(Intervention):
    """Set one of ``groups`` equal groups of channels to their mean over the positions, each group in its own draw."""

    family = "latent"
    label_preserving = False
    latents = True
    tokens = True
    paper = "Debbi 2024, CausAdv; Yang et al. 2019, arXiv 1902.03380"
    ranges: ClassVar = {"groups": Range(1, 4096, whole=True)}

    def __init__(self, *, site: str, groups: int = 4) -> None:
        super().__init__(site=site, groups=groups)
        self.draws = groups

    def forward(self, h: Tensor) -> Tensor:
        """Ablate, see `Intervention.forward`."""
        channels = 1 if h.ndim == 4 else 2
        member = torch.arange(h.shape[channels], device=h.device) % self.draws
        keep = (member != torch.arange(self.draws, device=h.device).view(-1, 1)).to(h.dtype)
        keep = keep.view(self.draws, 1, -1, 1, 1) if channels == 1 else keep.view(self.draws, 1, 1, -1)
        return (keep * h.unsqueeze(0) + (1 - keep) * h.mean(positions(h), keepdim=True)).flatten(0, 1)


class DropTokens(Intervention):
    """Set random tokens to the mean token, in ``draws`` fixed patterns that keep each with probability ``keep``.

    ``count`` is the length of the sequence. The first ``spared`` tokens, where classifiers put their class token,
    are never dropped and do not enter the mean.
    """

    family = "masking"
    label_preserving = False
    deterministic = False
    tokens = True
    paper = "Petsiuk et al. 2018, RISE, arXiv 1806.07421, on tokens"
    ranges: ClassVar = {"count": Range(2, 2**16, whole=True), "keep": Range(0, 1), "spared": Range(0, whole=True)}

    kept: Tensor

    def __init__(
        self, *, site: str, count: int, draws: int = 2, keep: float = 0.7, spared: int = 1, seed: int = 0
    ) -> None:
        super().__init__(site=site, draws=draws, count=count, keep=keep, spared=spared, seed=seed)
        self.settings["draws"] = draws
        generator = torch.Generator().manual_seed(seed)
        kept = torch.rand(draws, 1, count, 1, generator=generator) < keep
        kept[:, :, :spared] = True
        self.register_buffer("kept", kept.float())

    def forward(self, h: Tensor) -> Tensor:
        """Drop, see `Intervention.forward`."""
        kept = self.kept.to(h.dtype)
        mean = h[:, int(self.settings["spared"]) :].mean(1, keepdim=True)
        return (kept * h.unsqueeze(0) + (1 - kept) * mean).flatten(0, 1)
