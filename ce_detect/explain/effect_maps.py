"""Causal-effect maps: how much the logits move when the neighbourhood of a pixel is hidden.

do(hide a window) for windows of some sizes all over a picture. A pixel gets the mean effect of the windows of one size
that cover it, and then a mean over the sizes. The smaller a window, the better it tells where an effect sits: the
effect of a larger one is shared among its pixels by what the smaller ones found there. A small picture is hidden by
smaller windows, too: down to a pixel, where the classifier is small enough for so many passes. Each size counts there
by one over the area of its windows: what matters is the effect for each hidden pixel. After Yang et al. 2019,
arXiv 1902.03380, who mask the input and hidden layers; effects are those of `ce_detect.features.effects`, on logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import INPUT, Classifier, site_shapes
from ce_detect.classifiers.flops import flops
from ce_detect.core.errors import UsageError
from ce_detect.core.types import BASELINES
from ce_detect.data.lazy import batch_size
from ce_detect.features.effects import EFFECTS, effects
from ce_detect.interventions.masking import baseline_of, noise_pattern

SHARES = (0.125, 0.25, 0.5)
"""Sides of the windows, as shares of the sides of the picture, the smallest first."""

SMALL = 32
"""A picture with no longer side, in pixels, is hidden by smaller windows, too."""

FINER = ((0.0, 0.0625), (0.0625,), (0.09375,))
"""Shares that come first there, a pixel at least: the first of these that `WORK` allows, or none."""

WORK = 2.4e10
"""Floating-point operations that all windows may take there: some 300 forward passes of a ResNet-20 at 32 by 32."""

EVEN = 0.05
"""Part of a larger window's effect that is shared evenly, relative to what smaller ones found on average."""

OVERLAPPING = 0.25
"""Windows of this share or more overlap by half; smaller ones lie side by side, as there are many of them."""

TINY = 1e-12
"""Keeps a window whose pixels have no effects at all from a division by zero."""

ROWS = 64
"""Variants of a picture that are judged at a time, fewer where they are large."""

MAPS = {"target": "target effect", "non_target": "non-target effect", "rival": "rival rise"}
"""Names of the maps, and the effects that they show."""


@dataclass(frozen=True, slots=True)
class EffectMaps:
    """Effects by pixel, in log-odds or logits. Positive target effect: hiding this place makes the decision weaker.

    Attributes:
        target: target effect ``(batch, height, width)``, in the size of the input.
        non_target: mean change of all other logits, of the same shape.
        rival: rise of the rival that gains most, of the same shape.
        label: classes ``(batch,)`` whose evidence is looked at.
        site: where the picture was hidden.
        baseline: what was put in its place.
    """

    target: Tensor
    non_target: Tensor
    rival: Tensor
    label: Tensor
    site: str
    baseline: str


def effect_maps(
    classifier: Classifier,
    x: Tensor,
    *,
    baseline: str = "mean",
    site: str = INPUT,
    seed: int = 0,
    labels: Tensor | None = None,
) -> EffectMaps:
    """Make the maps of some inputs.

    Args:
        classifier: any; gradients are not needed.
        x: ``(batch, channels, height, width)``, within the bounds, on the classifier's device.
        baseline: what is put in the place of a window: ``"mean"`` of the picture, ``"blur"``, or ``"noise"``.
        site: the input, or a site whose tensor is a feature map.
        seed: seed of the noise.
        labels: classes ``(batch,)`` whose evidence is looked at; the decisions by default.

    Raises:
        UsageError: no such baseline, or a site that is not a feature map of this classifier.
    """
    if baseline not in BASELINES:
        raise UsageError(f"baseline = {baseline!r}, expected one of {', '.join(BASELINES)}")
    shapes = {INPUT: classifier.input_shape, **site_shapes(classifier)}
    if site not in shapes or len(shapes[site]) != 3:
        others = ", ".join(name for name, shape in shapes.items() if len(shape) == 3)
        raise UsageError(f"site = {site!r} has no feature map here, expected one of {others}")
    with torch.inference_mode():
        wanted = [None] * len(x) if labels is None else labels.split(1)
        rows = zip(x.split(1), wanted, strict=True)
        shares = _shares(classifier, shapes[site][1], shapes[site][2])
        found = [_of_one(classifier, *row, baseline=baseline, site=site, seed=seed, shares=shares) for row in rows]
    maps, classes = (torch.cat(part) for part in zip(*found, strict=True))
    parts = [maps[:, EFFECTS.index(effect)] for effect in MAPS.values()]
    return EffectMaps(parts[0], parts[1], parts[2], classes, site, baseline)


def _of_one(
    classifier: Classifier, x: Tensor, label: Tensor | None, *, baseline: str, site: str, seed: int,
    shares: Sequence[float],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Maps ``(1, effects, height, width)`` of one input, and the class that they are for: by default its decision."""
    if site == INPUT:
        z, h = classifier.logits(x), x
    else:
        z, latents = classifier.trace(x, (site,))
        h = latents[site]
    label = z.argmax(1) if label is None else label
    at_a_time = batch_size(ROWS, x.shape[1:])
    instead = baseline_of(h, baseline, noise_pattern(seed).to(h.device))
    height, width = h.shape[-2:]
    found: list[Tensor] = []
    weights: list[float] = []
    for masks in _windows(height, width, shares, h.device):
        smaller = (
            torch.stack(found).mean(0).abs() if found else torch.ones(len(EFFECTS), height, width, device=h.device)
        )
        there = smaller + EVEN * smaller.mean((1, 2), keepdim=True) + TINY
        summed, covered = torch.zeros_like(there), masks.sum((0, 1))
        weights.append(1 / float(masks[0].sum()) if max(height, width) <= SMALL else 1.0)
        for part in masks.split(at_a_time):
            hidden = part.to(there.dtype)
            changed = torch.where(part, instead, h)
            repeated = x.expand(len(hidden), *x.shape[1:])
            after = classifier.logits(changed) if site == INPUT else classifier.resume(site, changed, repeated)
            moved = effects(z, after[:, None], label=label, multi_label=classifier.multi_label)[:, 0]
            inside = torch.einsum("nhw,ehw->ne", hidden[:, 0], there) / hidden.sum((1, 2, 3))[:, None]
            summed += torch.einsum("ne,nhw->ehw", moved / inside, hidden[:, 0]) * there
        found.append(summed / covered)
    counted = torch.tensor(weights, device=h.device) / sum(weights)
    mean = torch.einsum("s,sehw->ehw", counted, torch.stack(found))[None]
    return F.interpolate(mean, x.shape[-2:], mode="bilinear", align_corners=False), label


def _shares(classifier: Classifier, height: int, width: int) -> Sequence[float]:
    """Sides of the windows, as shares of the sides of this picture, the smallest first."""
    if max(height, width) > SMALL:
        return SHARES
    most = WORK / flops(classifier)
    for shares in ((*finer, *SHARES) for finer in FINER):
        if sum(len(tops) * len(lefts) for _, (tops, lefts) in _places(height, width, shares)) <= most:
            return shares
    return SHARES


def _places(
    height: int, width: int, shares: Sequence[float]
) -> Iterator[tuple[tuple[int, int], tuple[list[int], list[int]]]]:
    """Height and width of the windows of each size, and where they begin."""
    sizes = {(max(1, math.ceil(share * height)), max(1, math.ceil(share * width))): share for share in shares}
    for (tall, wide), share in sizes.items():
        part = 2 if share >= OVERLAPPING else 1
        yield (tall, wide), (_starts(height, tall, part), _starts(width, wide, part))


def _windows(height: int, width: int, shares: Sequence[float], device: torch.device) -> Iterator[Tensor]:
    """Masks ``(windows, 1, height, width)`` of each size: true where a window hides the picture."""
    for (tall, wide), (tops, lefts) in _places(height, width, shares):
        masks = torch.zeros(len(tops) * len(lefts), 1, height, width, dtype=torch.bool, device=device)
        for mask, (top, left) in zip(masks, ((top, left) for top in tops for left in lefts), strict=True):
            mask[:, top : top + tall, left : left + wide] = True
        yield masks


def _starts(side: int, size: int, part: int) -> list[int]:
    """Where windows begin, so that they cover a side; the last one ends where it ends."""
    step = max(1, size // part)
    return sorted({min(start, side - size) for start in range(0, side, step)})
