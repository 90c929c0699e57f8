"""Meaningful Perturbation: the smallest smooth mask behind which the label's probability falls."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.log_odds import probabilities
from ce_detect.explain.methods.base import Method
from ce_detect.explain.methods.mask_optimization import Noise, blurred, cells_of, descended, enlarged, variation

SIZE, SMOOTHNESS, POWER = 0.01, 0.2, 3.0
"""Weights of ``mean|1 - m|`` and of the total variation, and its power, as the usual code on means over cells has it."""


class MeaningfulPerturbation(Method):
    """Minimises ``p_T(m x + (1 - m) x_r) + 0.01 mean|1 - m| + 0.2 TV3(m)`` (paper, equation 6); the map is ``1 - m``.

    Args:
        steps: number of steps of Adam; the paper takes 300.
        rate: learning rate.
        noise: see `ce_detect.explain.methods.mask_optimization.Noise`.
        seed: seed of the noise.
    """

    name = "meaningful-perturbation"
    title = "Meaningful Perturbation"
    paper = "Fong, Vedaldi 2017, arXiv 1704.03296"

    def __init__(self, *, steps: int = 300, rate: float = 0.1, noise: float = 0.2, seed: int = 0) -> None:
        self.steps, self.rate, self.noise, self.seed = steps, rate, noise, seed

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        instead = blurred(x)
        noise = Noise(x, self.noise, self.seed)

        def loss(mask: Tensor, _: int) -> Tensor:
            kept = enlarged(mask, x)
            z = classifier.logits(noise(kept * x + (1 - kept) * instead))
            p = probabilities(z, multi_label=classifier.multi_label).gather(1, labels[:, None])[:, 0]
            return p + SIZE * (1 - mask).abs().mean((1, 2, 3)) + SMOOTHNESS * variation(mask, POWER)

        start = torch.ones(len(x), 1, *cells_of(x), device=x.device)
        return 1 - descended(start, loss, steps=self.steps, optimizer=partial(torch.optim.Adam, lr=self.rate))[:, 0]
