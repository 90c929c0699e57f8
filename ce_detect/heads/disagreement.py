"""A head that also heeds the doubt of a robust copy."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.heads.base import Head

DOUBTED = 0.8
"""Of the false alarms that are allowed, the share that goes to the doubt of a robust copy."""

STEEPNESS = 3.0
"""Times faster that the doubt falls below the meeting than it rises above it: clean inputs that the copy doubts a bit
then keep the rank that the other head gives them."""

SOFTNESS = 0.1
"""Difference of two scores, in interquartile ranges of clean ones, within which their maximum is rounded."""


class DisagreementHead(Head):
    """What another head says, or how much a robust copy doubts the decision, whichever is more.

    An attacker has to satisfy both: a sum of the two could be bought with the cheaper one. The maximum is rounded where
    they meet, ``s log(exp(a / s) + exp(b / s))``, so that its gradient tells the truth about both.

    Attributes:
        inner: the other head, on a scale of its own.
        effect, odds: columns of the target effect of the copy and of the log-odds of the decision. Their difference is
            the log-odds against the decision in the eyes of the copy.
        middle, width: that difference counts in units of ``width`` from ``middle``.
        meeting: score down to which it counts so; what is lower falls `STEEPNESS` times as fast.
    """

    effect: Tensor
    odds: Tensor
    middle: Tensor
    width: Tensor
    meeting: Tensor

    def __init__(
        self, inner: Head, *, effect: int, odds: int, middle: float = 0.0, width: float = 1.0, meeting: float = 0.0
    ) -> None:
        super().__init__(inner.center, inner.scale)
        self.inner = inner
        self.register_buffer("effect", torch.tensor(effect))
        self.register_buffer("odds", torch.tensor(odds))
        self.register_buffer("middle", torch.tensor(middle, dtype=torch.float32))
        self.register_buffer("width", torch.tensor(width, dtype=torch.float32))
        self.register_buffer("meeting", torch.tensor(meeting, dtype=torch.float32))
        self._prepare()

    def doubt(self, features: Tensor) -> Tensor:
        """Log-odds against the decision ``(batch,)`` in the eyes of the copy, in nats, from signatures."""
        effect, odds = self._columns
        return features[:, effect] - features[:, odds]

    def level(self, inner: Tensor, features: Tensor, share: float) -> None:
        """Set the scale of the doubt, so that of a share of clean inputs above some score most are there by the doubt.

        Args:
            inner: scores ``(n,)`` of the other head on clean inputs that neither head nor copy learned from.
            features: their signatures.
            share: of clean inputs that will be flagged.
        """
        doubt = self.doubt(features).double()
        low, high = doubt.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
        width = (high - low).clamp_min(1e-6)
        meeting = inner.double().quantile(1 - (1 - DOUBTED) * share)
        self.width.copy_(width)
        self.meeting.copy_(meeting)
        self.middle.copy_(doubt.quantile(1 - DOUBTED * share) - width * meeting)
        self._prepare()

    def forward(self, features: Tensor) -> Tensor:
        """Return scores ``(batch,)`` from a signature ``(batch, features)``."""
        factor, offset, below = self._line
        line = self.doubt(features) * factor + offset
        both = torch.stack([self.inner(features), torch.minimum(line, STEEPNESS * line + below)])
        return SOFTNESS * (both / SOFTNESS).logsumexp(0)

    def _prepare(self) -> None:
        self._columns = int(self.effect), int(self.odds)
        width = float(self.width)
        self._line = 1 / width, -float(self.middle) / width, (1 - STEEPNESS) * float(self.meeting)
