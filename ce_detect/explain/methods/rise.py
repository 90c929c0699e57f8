"""RISE: the mean of random masks, each weighted by the probability that the label has behind it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.log_odds import probabilities
from ce_detect.data.lazy import batch_size
from ce_detect.explain.effect_maps import ROWS
from ce_detect.explain.methods.base import Method


class RISE(Method):
    """Petsiuk et al. 2018, equation 6. What is hidden has the mean colour of the picture.

    Args:
        masks: number of masks, the same for every picture; the paper takes 4,000 to 8,000.
        cells: cells of a mask along a side, before it is enlarged.
        keep: probability that a cell is shown.
        seed: seed of the masks.
    """

    name = "rise"
    title = "RISE"
    gradients = False
    paper = "Petsiuk, Das, Saenko 2018, arXiv 1806.07421"

    def __init__(self, *, masks: int = 4000, cells: int = 7, keep: float = 0.5, seed: int = 0) -> None:
        self.masks, self.cells, self.keep, self.seed = masks, cells, keep, seed

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        instead = x.mean((2, 3), keepdim=True)
        found = torch.zeros(len(x), *x.shape[2:], device=x.device)
        at_a_time = max(1, batch_size(ROWS, x.shape[1:]) // len(x))
        for start in range(0, self.masks, at_a_time):
            count = min(at_a_time, self.masks - start)
            shown = self._drawn(count, x.shape[-2], x.shape[-1], generator).to(x.device)
            blended = shown[:, None, None] * (x - instead) + instead
            with torch.inference_mode():
                p = probabilities(classifier.logits(blended.flatten(0, 1)), multi_label=classifier.multi_label)
            own = p.gather(1, labels.repeat(count)[:, None]).view(count, len(x))
            found += torch.einsum("nb,nhw->bhw", own, shown)
        return found / (self.masks * self.keep)

    def _drawn(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Masks ``(count, height, width)`` in [0, 1]: grids enlarged, each moved by a part of a cell."""
        drawn = []
        tall, wide = math.ceil(height / self.cells), math.ceil(width / self.cells)
        for _ in range(count):
            grid = (torch.rand(1, 1, self.cells + 1, self.cells + 1, generator=generator) < self.keep).float()
            size = ((self.cells + 1) * tall, (self.cells + 1) * wide)
            large = F.interpolate(grid, size, mode="bilinear", align_corners=False)[0, 0]
            top, left = (int(torch.randint(side, (1,), generator=generator)) for side in (tall, wide))
            drawn.append(large[top : top + height, left : left + width])
        return torch.stack(drawn)
