"""The sanity check of saliency maps: a map must change when the parameters of the classifier are drawn anew.

Adebayo et al. 2018, arXiv 1810.03292: layers are randomised one after the other, the last one first, and maps are
compared with those of the classifier as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier
from ce_detect.core import extras
from ce_detect.core.errors import UsageError
from ce_detect.explain.methods.base import Method

WINDOW = 7
"""Side of the windows of SSIM, in pixels."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How like its first map a method's map is once some layers are random; 1 is the same map.

    Attributes:
        layers: share of the layers that are random.
        rank_correlation: Spearman's, ``(batch,)``.
        ssim: structural similarity of the maps, each scaled to [0, 1], ``(batch,)``.
    """

    layers: float
    rank_correlation: Tensor
    ssim: Tensor


def sanity_check(
    method: Method, classifier: Classifier, x: Any, labels: Any, *, stages: int = 3, seed: int = 0
) -> list[Likeness]:
    """Compare maps with those of ever more randomised classifiers.

    Args:
        method: which maps.
        classifier: with parameters in PyTorch.
        x: see `Method.maps`.
        labels: see there.
        stages: in how many steps all layers become random.
        seed: of the new parameters.

    Raises:
        UsageError: the parameters of the classifier cannot be reached.
    """
    before = method.maps(classifier, x, labels)
    found = []
    for share, randomised in randomised_copies(classifier, stages=stages, seed=seed):
        after = method.maps(randomised, x, labels)
        found.append(Likeness(share, rank_correlation(before, after), ssim(_unit(before), _unit(after))))
    return found


def randomised_copies(classifier: Classifier, *, stages: int, seed: int) -> Iterator[tuple[float, Any]]:
    """Copies with ever more layers drawn anew, from the last to the first, and the share of layers that are.

    New parameters are normal, with mean and standard deviation of those that they replace, so that activations stay in
    their range.

    Raises:
        UsageError: the parameters of the classifier cannot be reached.
    """
    if not isinstance(classifier, nn.Module) or not classifier.differentiable:
        raise UsageError(
            f"{type(classifier).__name__} has no parameters to randomise. Pass the PyTorch model that the file was "
            "made from"
        )
    randomised = copy.deepcopy(classifier)
    generator = torch.Generator().manual_seed(seed)
    parameters = list(randomised.parameters())[::-1]
    done = 0
    for stage in range(1, stages + 1):
        until = round(len(parameters) * stage / stages)
        for parameter in parameters[done:until]:
            drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
            with torch.no_grad():
                parameter.copy_(parameter.mean() + parameter.std(correction=0) * drawn)
        done = until
        yield done / len(parameters), randomised


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation ``(batch,)`` of maps ``(batch, height, width)``; 0 where one is constant."""
    spearmanr = extras.module("scipy.stats", "Rank correlation").spearmanr
    pairs = zip(*(maps.flatten(1).cpu().numpy() for maps in (a, b)), strict=True)
    return torch.tensor([spearmanr(*pair).statistic if min(map(np.ptp, pair)) > 0 else 0.0 for pair in pairs])


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity ``(batch,)`` of maps in [0, 1]: Wang et al. 2004, with even windows of 7 by 7 pixels.

    Args:
        a: ``(batch, height, width)``, 7 pixels or more along each side.
        b: of the same shape.
    """
    a, b = a[:, None], b[:, None]

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, WINDOW, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    together = mean(a * b) - mean_a * mean_b
    first, second = 0.01**2, 0.03**2
    above = (2 * mean_a * mean_b + first) * (2 * together + second)
    return (above / ((mean_a**2 + mean_b**2 + first) * (var_a + var_b + second))).mean((1, 2, 3))


def _unit(maps: Tensor) -> Tensor:
    """Maps scaled to [0, 1]; all 0 where one is constant."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)
