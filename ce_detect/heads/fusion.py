"""A head of two others: log-odds of an attack, and distance from clean signatures."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.heads.base import Head, by_rows
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.heads.network import NetworkHead


class FusedHead(Head):
    """What attacks look like, and what clean inputs look like, in one score.

    The mean of the log-odds of a linear model, those of an ensemble of networks, and the standardised distance from
    clean signatures. The first two know the attacks of the calibration best, the last finds others. The score is
    counted from the median of clean inputs in interquartile ranges of theirs. So all detectors have one scale, and
    rounding means the same in each.

    Attributes:
        network: log-odds from squashed features; counts once where it is a linear model alone, else twice.
        clean: distance from clean signatures, on the same squashed features.
        location, spread: mean and standard deviation of the distance on clean inputs.
        middle, width: median and interquartile range of the mean on clean inputs; 0 and 1 until `standardise`.
    """

    location: Tensor
    spread: Tensor
    middle: Tensor
    width: Tensor

    def __init__(
        self,
        network: NetworkHead,
        clean: DistanceHead,
        location: float,
        spread: float,
        *,
        middle: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__(network.center, network.scale)
        self.network = network
        self.clean = clean
        for name, value in {"location": location, "spread": spread, "middle": middle, "width": width}.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))
        self._prepare()

    def standardise(self, features: Tensor) -> None:
        """Set the scale of the score by signatures ``(n, features)`` of clean inputs."""
        low, middle, high = by_rows(self, features).quantile(torch.tensor([0.25, 0.5, 0.75]))
        self.middle.copy_(self.middle + middle * self.width)
        self.width.copy_(self.width * (high - low).clamp_min(1e-6))
        self._prepare()

    def forward(self, features: Tensor) -> Tensor:
        """Return scores ``(batch,)`` from a signature ``(batch, features)``."""
        squashed = self.squash(features)
        known, unusual, offset = self._line
        return known * self.network.log_odds(squashed) + unusual * self.clean.distance(squashed) + offset

    def _prepare(self) -> None:
        """Take what the log-odds and the distance count in the score, and its offset, as numbers."""
        share, width, spread = (2 if self.network.depth else 1), float(self.width), float(self.spread)
        unusual = 1 / (width * (share + 1) * spread)
        offset = -float(self.location) * unusual - float(self.middle) / width
        self._line = share / (width * (share + 1)), unusual, offset
