"""do(add noise): a few Gaussian patterns, drawn once from a seed and the same for every input."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.interventions.base import Intervention, Range, check_size


class GaussianNoise(Intervention):
    """Add ``draws`` fixed Gaussian patterns of standard deviation ``sigma`` times the pixel range.

    The patterns come from ``seed`` when the intervention is made, so a verdict can be reproduced and the artifact
    holds them; a deployment may keep them secret. Patterns are drawn for ``side`` by ``side`` pixels and cropped or
    tiled to the tensor at hand. ``width`` is the pixel range. At a hidden layer
    use ``relative``: standard deviations of the tensor itself instead of pixel ranges. Tokens take the pixels of a
    pattern in turn.
    """

    family = "noise"
    deterministic = False
    latents = True
    tokens = True
    paper = "Roth et al. 2019, The Odds are Odd, arXiv 1902.04818"
    ranges: ClassVar = {
        "sigma": Range(0, above=True),
        "side": Range(1, 2**12, whole=True),
        "width": Range(0, above=True),
        "relative": (False, True),
    }

    pattern: Tensor

    def __init__(
        self, *, site: str = INPUT, sigma: float = 0.05, draws: int = 1, seed: int = 0, channels: int = 3,
        side: int = 32, width: float = 1.0, relative: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            site=site, draws=draws, sigma=sigma, seed=seed, channels=channels, side=side, width=width, relative=relative
        )
        self.settings["draws"] = draws
        check_size("GaussianNoise", draws, channels, side, side)
        generator = torch.Generator().manual_seed(seed)
        pattern = torch.randn(draws, 1, channels, side, side, generator=generator)
        self.register_buffer("pattern", pattern * sigma * width)

    def forward(self, h: Tensor) -> Tensor:
        """Add the patterns, see `Intervention.forward`."""
        if h.ndim == 4:
            height, width = h.shape[-2:]
            side = self.pattern.shape[-1]
            repeats = (-(-height // side), -(-width // side))
            pattern = self.pattern.repeat(1, 1, 1, *repeats)[..., :height, :width]
        else:
            by_token = self.pattern.flatten(3).transpose(2, 3)
            pattern = by_token.repeat(1, 1, -(-h.shape[1] // by_token.shape[2]), 1)[:, :, : h.shape[1]]
        spread = h.std(dim=tuple(range(1, h.ndim)), keepdim=True) if self.settings["relative"] else 1.0
        return (h.unsqueeze(0) + pattern * spread).flatten(0, 1)
