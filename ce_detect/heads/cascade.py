"""The head of a cascade: a first head clears inputs, a second scores the others."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.heads.base import Head

CLEARED = 0.6
"""Share of clean inputs that the first head clears, as far as the images that set its level can tell."""


class CascadedHead(Head):
    """What the first head says where that is no more than a level, else what the second says.

    The first sees the free features alone. The level is set before the threshold is, on other images, and the score is
    one function of the input like any other. So promises about clean inputs hold as they do without a cascade.

    Attributes:
        first: free features to score.
        second: all features to score.
        level: scalar, score of the first head down to which an input is cleared.
    """

    level: Tensor

    def __init__(self, first: Head, second: Head, *, level: float = 0.0) -> None:
        super().__init__(second.center, second.scale)
        self.first = first
        self.second = second
        self.register_buffer("level", torch.tensor(level, dtype=torch.float32))

    @property
    def free(self) -> int:
        """How many features the first head sees."""
        return len(self.first.center)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores ``(batch,)`` from a signature ``(batch, features)``."""
        first = self.first(features[:, : self.free])
        return torch.where(first <= self.level, first, self.second(features))

    def ways(self, features: Tensor, threshold: float) -> Tensor:
        """See `Head.ways`: to be cleared, and to convince the second head."""
        level = float(self.level)
        if level > threshold:  # to be cleared is not enough
            return super().ways(features, threshold)
        first, second = self.first(features[:, : self.free]), self.second(features)
        return torch.stack([first + (threshold - level), second])

    def near(self, features: Tensor, threshold: float) -> Tensor:
        """See `Head.near`; where rounding has the shorter way say something else, it is put right."""
        shortest = self.ways(features, threshold).amin(0)
        at = shortest.new_tensor(threshold)
        above = torch.nextafter(at, at.new_tensor(torch.inf))
        return torch.where(self(features) > at, shortest.clamp_min(above), shortest.clamp_max(at))
