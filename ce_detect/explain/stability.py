"""Does a map stand an attack that keeps the label? Maps before and after it, and how alike they are.

Yang et al. 2019, arXiv 1902.03380, hold that causal effects stand this better than class activation does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.log_odds import log_odds
from ce_detect.core.errors import UsageError
from ce_detect.core.types import Floats

STEPS = 10
"""Steps of the attack, each of a quarter of its reach."""


@dataclass(frozen=True, slots=True)
class AfterAttack:
    """Inputs after an attack that keeps their labels.

    Attributes:
        eps: reach of the attack in parts of the pixel range, in the maximum norm.
        pixels: the inputs ``(batch, channels, height, width)``.
        maps: maps ``(batch, height, width)`` of the same labels as before: ours as ``"target"``, others by name of the
            method.
        likeness: Spearman's rank correlation of each map with the one before, for each input.
    """

    eps: float
    pixels: Floats
    maps: Mapping[str, Floats]
    likeness: Mapping[str, list[float]]


def weakened(classifier: Classifier, x: Tensor, eps: float, *, steps: int = STEPS) -> Tensor:
    """Inputs after steps of PGD that lower the log-odds of their decisions; a step that would change one is not made.

    Args:
        classifier: differentiable.
        x: ``(batch, channels, height, width)``, within the bounds, on the classifier's device.
        eps: largest change of a pixel, in parts of the pixel range.
        steps: number of steps.

    Raises:
        UsageError: no part of the pixel range, or a classifier without gradients.
    """
    if not 0 < eps <= 1:
        raise UsageError(f"an attack of {eps:g}: expected a part of the pixel range above 0 and up to 1, such as 2/255")
    if not classifier.differentiable:
        raise UsageError(
            f"an attack that keeps the label needs gradients, and {type(classifier).__name__} has none. Pass the "
            "PyTorch model that the file was made from, or leave the attack out"
        )
    low, high = classifier.bounds
    reach = eps * (high - low)
    with torch.no_grad():
        labels = classifier.logits(x).argmax(1)
    moved = x.clone()
    for _ in range(steps):
        with torch.enable_grad():
            at = moved.clone().requires_grad_()
            odds = log_odds(classifier.logits(at), labels, multi_label=classifier.multi_label)
            (gradient,) = torch.autograd.grad(odds.sum(), at)
        with torch.no_grad():
            step = (moved - reach / 4 * gradient.sign()).clamp(x - reach, x + reach).clamp(low, high)
            stays = classifier.logits(step).argmax(1) == labels
            moved = torch.where(stays[:, None, None, None], step, moved)
    return moved
