"""Extremal Perturbation: masks of given areas that keep the label's logit as high as can be."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.explain.methods.base import Method
from ce_detect.explain.methods.mask_optimization import descended, enlarged
from ce_detect.interventions.photometric import Blur

AREAS = (0.025, 0.05, 0.1, 0.2)
"""Shares of the picture that the masks may show."""

CELLS, REACH = 32, 3
"""Cells of a mask along a side, and how far in cells it is smooth: 7 and 21 of 224 pixels, as in the paper's code."""

COLDNESS = 20.0
"""How near the smooth maximum is to the maximum."""

ALIKE = 1e-4
"""Difference up to which cells count as equal."""

PRESSURE, GROWTH = 300.0, 1.0035**800
"""Weight of the area at the first step, and by what it has grown at the last one."""

DESCENT = partial(torch.optim.SGD, lr=0.01, momentum=0.9, dampening=0.9)
"""How the masks are found."""

BLUR = 20 / 224
"""Standard deviation of the blur that hides, as a share of the picture's width."""


class ExtremalPerturbation(Method):
    """Maximises ``z_T(m x + (1 - m) x_r)`` over smooth masks of each area; the map is the sum of the masks.

    With the settings of the paper's own code, but for three changes. Two save time: one blur in the place of a pyramid
    of them, and masks are smooth on their grid of cells and enlarged then. The third is in `area_target`.

    Args:
        steps: number of steps; the paper takes 800.
        areas: shares of the picture.
        mirrored: whether the picture is mirrored at every other step.
    """

    name = "extremal-perturbation"
    title = "Extremal Perturbation"
    paper = "Fong, Patrick, Vedaldi 2019, arXiv 1910.08485"
    rows = len(AREAS)

    def __init__(self, *, steps: int = 800, areas: tuple[float, ...] = AREAS, mirrored: bool = True) -> None:
        self.steps, self.areas, self.mirrored = steps, areas, mirrored

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        times = len(self.areas)
        pictures, classes = x.repeat(times, 1, 1, 1), labels.repeat(times)
        instead = _strongly_blurred(x).repeat(times, 1, 1, 1)
        height, width = (min(CELLS, side) for side in x.shape[2:])
        count = (height + 2 * REACH) * (width + 2 * REACH)
        shown = torch.tensor(self.areas, device=x.device).repeat_interleave(len(x))
        hidden = (count * (1 - shown[:, None])).floor()

        def loss(mask: Tensor, step: int) -> Tensor:
            smooth = smooth_maximum(mask)
            kept = enlarged(smooth[..., REACH:-REACH, REACH:-REACH], x)
            seen = kept * pictures + (1 - kept) * instead
            seen = seen.flip(3) if self.mirrored and step % 2 == 0 else seen
            z = classifier.logits(seen).gather(1, classes[:, None])[:, 0]
            weight = PRESSURE * math.pow(GROWTH, step / self.steps)
            cells = smooth.flatten(1)
            return weight * (cells - area_target(cells.detach(), hidden)).square().mean(1) - z

        mask = descended(torch.ones(len(pictures), 1, height, width).to(x), loss, steps=self.steps, optimizer=DESCENT)
        masks = smooth_maximum(mask)[:, 0, REACH:-REACH, REACH:-REACH]
        return masks.reshape(times, len(x), height, width).sum(0)


def smooth_maximum(mask: Tensor) -> Tensor:
    """The smooth maximum of each cell's neighbours, each weighted less the farther it is (paper, equation 7).

    Args:
        mask: ``(batch, 1, height, width)`` in [0, 1].

    Returns:
        The same with a margin of `REACH` cells: a mask at the edge of the picture would else have a smaller area.
    """
    radius = 1 + REACH
    line = torch.arange(-radius, radius + 1, device=mask.device)
    far = torch.hypot(line[:, None].float(), line[None].float()) / REACH
    weight = torch.exp(-2 * (far - 0.5).clamp_min(0).square()).flatten()[:, None]
    neighbours = weight * F.unfold(mask, 2 * radius + 1, padding=radius + REACH)
    smooth = (neighbours * (COLDNESS * neighbours).softmax(1)).sum(1)
    return smooth.view(len(mask), 1, mask.shape[2] + 2 * REACH, mask.shape[3] + 2 * REACH)


def area_target(cells: Tensor, hidden: Tensor) -> Tensor:
    """What each cell is drawn to, so that a mask has its area: the smallest to 0, the others to 1 (paper, ``r_a``).

    Cells that are equal are drawn to the same value, the mean over their ranks. The paper's code draws them to 0 or 1
    in the order in which a sort leaves them. All are equal at first, so that the order of a sort, which differs between
    processors, would say where the mask ends up.

    Args:
        cells: ``(batch, cells)`` in [0, 1].
        hidden: how many of them are to be 0, ``(batch, 1)``.
    """
    ordered = cells.sort(1).values
    first = torch.searchsorted(ordered, cells - ALIKE)
    last = torch.searchsorted(ordered, cells + ALIKE, right=True)
    return ((last - hidden).clamp_min(0) - (first - hidden).clamp_min(0)) / (last - first)


def _strongly_blurred(x: Tensor) -> Tensor:
    blur: Tensor = Blur(sigma=BLUR * x.shape[3]).to(x.device)(x)
    return blur
