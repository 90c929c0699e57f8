"""A cascade: inputs that the free statistics clear never meet the interventions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ce_detect.detector.head import Head
from ce_detect.detector.traced import Traced

if TYPE_CHECKING:
    from ce_detect.detector.gate import Gate
    from ce_detect.signature import Signature

CLEARED = 0.6
"""Share of clean inputs that the first head clears, as far as the images that set its level can tell."""

FEW = 8
"""Rows up to which `Second` runs as a trace: how many are left changes from batch to batch, and each number takes a
trace of its own. In larger batches the interpreter matters less."""

VERDICTS = ("label", "p_value", "probability", "is_adversarial")
"""What follows from logits and scores."""


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
        self.differentiable = first.differentiable and second.differentiable
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


class First(nn.Module):
    """Inputs to logits, free features, scores of the first head, and latents for `Second`."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.signature, self.head = gate.signature, cascaded(gate).first

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Look at inputs ``(batch, channels, height, width)``."""
        z, free, latents = self.signature.first(x)
        return z, free, self.head(free), *latents.values()


class Second(nn.Module):
    """What `First` gave for inputs that it did not clear, to their scores ``(batch,)``."""

    def __init__(self, gate: Gate, *, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole
        self.signature, self.head = gate.signature, cascaded(gate).second

    def forward(self, x: Tensor, z: Tensor, free: Tensor, *latents: Tensor) -> tuple[Tensor]:
        """Intervene on inputs ``(batch, channels, height, width)``."""
        at = dict(zip(self.signature.changed, latents, strict=True))
        others = self.signature.second(x, z, at, whole=self.whole)
        return (self.head(torch.cat([free, others], dim=1)),)


class Last(nn.Module):
    """Logits and scores to all else in a verdict, in the order of `VERDICTS`."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    @property
    def signature(self) -> Signature:
        """That of the gate."""
        return self.gate.signature

    def forward(self, z: Tensor, score: Tensor, threshold: Tensor | None = None) -> tuple[Tensor, ...]:
        """Judge, see `ce_detect.detector.gate.Detector.judged`."""
        judged = self.gate.judged(z, score, threshold)
        return tuple(getattr(judged, name) for name in VERDICTS)


class Staged:
    """Runs a gate with a cascade: `Second` takes the rows that `First` did not clear, and no others."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._first, self._last = Traced(First(gate)), Traced(Last(gate))
        self._many = Second(gate)
        self._few = Traced(self._many)

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return what the gate returns for inputs ``(batch, channels, height, width)``, as a plain tuple."""
        z, free, score, *latents = self._first(x)
        (left,) = torch.nonzero(~(score <= cascaded(self._gate).level), as_tuple=True)
        second = self._few if len(left) <= FEW else self._many
        if len(left) == len(score):
            (score,) = second(x, z, free, *latents)
        elif len(left):
            (found,) = second(*(tensor[left] for tensor in (x, z, free, *latents)))
            score = score.index_copy(0, left, found)
        label, *others = self._last(z, score)
        return z, label, score, *others


def cascaded(gate: Gate) -> CascadedHead:
    """The head of a gate that has a cascade."""
    assert isinstance(gate.head, CascadedHead)
    return gate.head
