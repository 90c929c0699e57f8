"""A cascade: inputs that the free statistics clear never meet the interventions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ce_detect.detector.compiled import Compiled
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.heads.cascade import CascadedHead

FEW = 8
"""Rows up to which `Second` runs compiled: how many are left changes from batch to batch, and each number takes a
program of its own. In larger batches the interpreter matters less."""

VERDICTS = ("label", "p_value", "probability", "is_adversarial")
"""What follows from logits and scores."""


class First(nn.Module):
    """Inputs to logits, free features, scores of the first head, and latents for `Second`."""

    def __init__(self, gate: GateModule) -> None:
        super().__init__()
        self.signature, self.head = gate.signature, cascaded(gate).first

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Look at inputs ``(batch, channels, height, width)``."""
        z, free, latents = self.signature.first(x)
        return z, free, self.head(free), *latents.values()


class Second(nn.Module):
    """What `First` gave for inputs that it did not clear, to their scores ``(batch,)``."""

    def __init__(self, gate: GateModule, *, whole: bool = False) -> None:
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

    def __init__(self, gate: GateModule) -> None:
        super().__init__()
        self.gate = gate

    @property
    def signature(self) -> Signature:
        """That of the gate."""
        return self.gate.signature

    def forward(self, z: Tensor, score: Tensor, threshold: Tensor | None = None) -> tuple[Tensor, ...]:
        """Judge, see `ce_detect.detector.detector.Detector.judged`."""
        judged = self.gate.judged(z, score, threshold)
        return tuple(getattr(judged, name) for name in VERDICTS)


class Staged:
    """Runs a gate with a cascade: `Second` takes the rows that `First` did not clear, and no others."""

    def __init__(self, gate: GateModule) -> None:
        self._gate = gate
        self._first, self._last = Compiled(First(gate)), Compiled(Last(gate))
        self._many = Second(gate)
        self._few = Compiled(self._many)

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


def cascaded(gate: GateModule) -> CascadedHead:
    """The head of a gate that has a cascade."""
    assert isinstance(gate.head, CascadedHead)
    return gate.head
