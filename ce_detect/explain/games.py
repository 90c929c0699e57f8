"""How well a map says what counts: deletion and insertion games, class distortion, and agreement with ground truth.

Deletion and insertion games: Petsiuk et al. 2018, arXiv 1806.07421. Class Distortion Score: Kim, Kim, Ro, IEEE TIP
31:301-313, 2022. What is hidden has the mean colour of the picture in the deletion game. In the insertion game and for
the score it is blurred.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.log_odds import every_log_odds, probabilities
from ce_detect.core.errors import InputError
from ce_detect.data.lazy import batch_size
from ce_detect.explain.effect_maps import ROWS
from ce_detect.explain.methods.mask_optimization import blurred

STEPS = 28
"""Steps of a game, each of as many pixels."""

HIDDEN = 0.2
"""Share of the pixels, the most important ones, that are hidden for the Class Distortion Score."""

TINY = 1e-7
"""Keeps logarithms and ratios of probabilities finite, as in the authors' code."""


class ClassDistortion(NamedTuple):
    """The Class Distortion Score ``(batch,)`` in both forms: the higher, the more it is the label alone that moves.

    Attributes:
        log_odds: ``Δ_T - mean Δ_NT``, with ``Δ`` the fall of a class's log-odds, T the label and NT all others.
        ratio: ``log(D_T / D_NT + 1)``, with ``D`` the binary divergence of a class's probability, averaged over the
            others: the form of the authors' code.
    """

    log_odds: Tensor
    ratio: Tensor


def deletion(classifier: Classifier, x: Tensor, labels: Tensor, maps: Tensor, *, steps: int = STEPS) -> Tensor:
    """Area under the label's probability ``(batch,)`` while the most important pixels are hidden first; low is good.

    Args:
        classifier: any.
        x: ``(batch, channels, height, width)``, within the bounds.
        labels: ``(batch,)``.
        maps: ``(batch, height, width)``, the larger the more important.
        steps: number of steps.

    Raises:
        InputError: maps of another size, or NaN in one.
    """
    instead = x.mean((2, 3), keepdim=True).expand_as(x)
    return area(_curve(classifier, x, instead, labels, maps, steps))


def insertion(classifier: Classifier, x: Tensor, labels: Tensor, maps: Tensor, *, steps: int = STEPS) -> Tensor:
    """The same while the most important pixels are shown first in a blurred picture; high is good. See `deletion`."""
    return area(_curve(classifier, blurred(x), x, labels, maps, steps))


def class_distortion(
    classifier: Classifier, x: Tensor, labels: Tensor, maps: Tensor, *, share: float = HIDDEN
) -> ClassDistortion:
    """The Class Distortion Score of hiding the most important pixels.

    Args:
        classifier: any.
        x: see `deletion`.
        labels: see there.
        maps: see there.
        share: of the pixels, is hidden.

    Raises:
        InputError: see there.
    """
    hidden = (ranks(maps, x) < share * maps[0].numel())[:, None]
    with torch.inference_mode():
        z, z_do = classifier.logits(x), classifier.logits(torch.where(hidden, blurred(x), x))
    own = F.one_hot(labels, z.shape[1]).bool()
    o, o_do = (every_log_odds(one, multi_label=classifier.multi_label) for one in (z, z_do))
    fall = o - o_do
    p, q = (probabilities(one, multi_label=classifier.multi_label) for one in (z, z_do))
    divergence = p * ((p + TINY) / (q + TINY)).log() + (1 - p) * ((1 - p + TINY) / (1 - q + TINY)).log()
    others = divergence.masked_fill(own, 0.0).sum(1) / (z.shape[1] - 1)
    return ClassDistortion(
        fall[own] - fall.masked_fill(own, 0.0).sum(1) / (z.shape[1] - 1),
        ((divergence[own] + TINY) / (others + TINY) + 1).log(),
    )


def area(curve: Tensor) -> Tensor:
    """Area under curves ``(batch, steps + 1)`` over [0, 1], by trapezoids."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)


def overlap(maps: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union ``(batch,)`` of the truth and as many of a map's most important pixels.

    Args:
        maps: ``(batch, height, width)``.
        truth: of the same shape, true where there is what is looked for.
    """
    chosen = ranks(maps, truth[:, None]) < truth.sum((1, 2), keepdim=True)
    return (chosen & truth).sum((1, 2)) / (chosen | truth).sum((1, 2)).clamp_min(1)


def pointing(maps: Tensor, truth: Tensor) -> Tensor:
    """Whether ``(batch,)`` the most important pixel of a map is in the truth; see `overlap`."""
    first = ranks(maps, truth[:, None]) == 0
    return (first & truth).any(2).any(1)


def ranks(maps: Tensor, x: Tensor) -> Tensor:
    """Rank of each pixel in its map ``(batch, height, width)``, 0 for the most important; equal ones at random.

    Args:
        maps: ``(batch, height, width)``.
        x: pictures of the maps ``(batch, channels, height, width)``.

    Raises:
        InputError: maps of another size, or NaN in one.
    """
    expected = (len(x), *x.shape[2:])
    if maps.shape != expected:
        raise InputError(f"maps have shape {tuple(maps.shape)}, expected {expected} for inputs of {tuple(x.shape)}")
    if maps.isnan().any():
        raise InputError("a map has NaN in it, expected numbers: what the method gives for these inputs is no order")
    flat = maps.flatten(1)
    mixed = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0)).to(maps.device)
    order = mixed[flat[:, mixed].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).view(expected)


def _curve(classifier: Classifier, first: Tensor, last: Tensor, labels: Tensor, maps: Tensor, steps: int) -> Tensor:
    """Probability of the labels ``(batch, steps + 1)`` while pixels of ``first`` become those of ``last``."""
    rank = ranks(maps, first)
    at_a_time = batch_size(ROWS, first.shape[1:])
    counts = torch.linspace(0, maps[0].numel(), steps + 1, device=maps.device).round()
    curves = []
    for one, other, label, place in zip(first, last, labels, rank, strict=True):
        seen = []
        for part in counts.split(at_a_time):
            changed = (place < part[:, None, None])[:, None]
            with torch.inference_mode():
                z = classifier.logits(torch.where(changed, other, one))
            seen.append(probabilities(z, multi_label=classifier.multi_label)[:, label])
        curves.append(torch.cat(seen))
    return torch.stack(curves)
