"""Inputs that got past classifier and gate, kept for people to look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ce_detect.core.types import Floats, Index
from ce_detect.redteam.gradient_masking import Trial
from ce_detect.redteam.radii import judged
from ce_detect.redteam.settings import Sizes


@dataclass(frozen=True, slots=True)
class PastTheGate:
    """One input that fooled the classifier and passed the gate, at the smallest perturbation that was found for it.

    Attributes:
        image: position of the clean image.
        radius: the perturbation, in parts of the pixel range, in the maximum norm.
        before: that clean image ``(channels, height, width)``.
        pixels: the input.
        label_before: the classifier's decision on the clean image.
        label: its decision on the input.
        score_before: what the gate scores the clean image.
        score: what it scores the input, the threshold or less.
    """

    image: int
    radius: float
    before: Floats
    pixels: Floats
    label_before: int
    label: int
    score_before: float
    score: float


def past_the_gate(trial: Trial, through: Tensor, rows: Index, radii: Sizes) -> tuple[PastTheGate, ...]:
    """Keep some of what got through.

    Args:
        trial: what was attacked.
        through: ``(n, channels, height, width)``, see `ce_detect.redteam.radii.radii`.
        rows: those that are kept ``(m,)``; all of them got through.
        radii: ``(n,)`` in parts of the pixel range.
    """
    if not len(rows):
        return ()
    at = torch.from_numpy(rows)
    clean, seen = (judged(trial.truth, x[at]) for x in (trial.case.x, through))
    labels = trial.case.labels[at]
    return tuple(
        PastTheGate(
            image=int(image),
            radius=float(radii[image]),
            before=trial.case.x[image].numpy(),
            pixels=through[image].numpy(),
            label_before=int(labels[place]),
            label=int(seen.logits[place].argmax()),
            score_before=float(clean.score[place]),
            score=float(seen.score[place]),
        )
        for place, image in enumerate(rows)
    )
