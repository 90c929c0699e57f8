"""Robust Perturbation: the mask that changes the label's prediction while it leaves all other predictions alone.

With a mask ``m`` in [0, 1], 1 where the picture is kept, a picture ``x`` and its blur ``x_r``, two pictures are judged:
perturbed ``m x + (1 - m) x_r`` and reversed ``(1 - m) x + m x_r``. Predictions ``p`` are those of the picture, ``p'`` of
the perturbed one, ``q'`` of the reversed one; T is the label and NT stands for all others. The mask minimises::

    - D(p_T, p'_T) + D(p_NT, p'_NT) + D(p_T, q'_T) + mean log2(|q'_NT| + 1) + 5 mean|1 - m| + 20 TV2(m)

with ``D(p, q) = mean log2(|p - q| + 1)``, and the map is ``1 - m``. Kim, Kim, Ro, IEEE Transactions on Image Processing
31:301-313, 2022. The paper's models give each label a probability of its own, by a sigmoid. Multi-label classifiers are
treated so here. A softmax is treated as follows:

- the label's prediction is its softmax probability, which is the sigmoid of its log-odds against all other classes;
- the others' predictions in ``D(p_NT, p'_NT)`` are their probabilities *given that it is not the label*. Those can stay
  as they are while the label's falls, as sigmoids can; plain ones cannot, as they sum to 1. With two classes the term
  is zero;
- the others' predictions in ``q'_NT`` are plain softmax probabilities;
- both terms are summed over the other classes, where those of sigmoids are averaged: the classes share one unit of
  probability, so that a mean over a thousand of them would be nothing.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.log_odds import probabilities
from ce_detect.explain.methods.base import Method
from ce_detect.explain.methods.mask_optimization import Noise, blurred, cells_of, descended, enlarged, variation

SIZE, SMOOTHNESS = 5.0, 20.0
"""Weights of ``mean|1 - m|`` and of the total variation."""


class Terms(NamedTuple):
    """Terms of the objective ``(batch,)``, without their weights."""

    target: Tensor
    non_target: Tensor
    reversed_target: Tensor
    reversed_non_target: Tensor
    size: Tensor
    variation: Tensor

    def loss(self) -> Tensor:
        """What the mask minimises, ``(batch,)``."""
        predicted = -self.target + self.non_target + self.reversed_target + self.reversed_non_target
        return predicted + SIZE * self.size + SMOOTHNESS * self.variation


class RobustPerturbation(Method):
    """The mask of the module's docstring, by Adam, for a batch of pictures and labels at a time.

    Args:
        steps: number of steps.
        rate: learning rate.
        noise: standard deviation of the noise on both pictures, see `Noise`.
        seed: seed of the noise.
    """

    name = "robust-perturbation"
    title = "Robust Perturbation"
    paper = "Kim, Kim, Ro 2022, IEEE TIP 31:301-313"
    rows = 2

    def __init__(self, *, steps: int = 150, rate: float = 0.1, noise: float = 0.2, seed: int = 0) -> None:
        self.steps, self.rate, self.noise, self.seed = steps, rate, noise, seed

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        instead = blurred(x)
        noise = Noise(x, self.noise, self.seed)
        with torch.no_grad():
            before = classifier.logits(x)

        def loss(mask: Tensor, _: int) -> Tensor:
            kept = enlarged(mask, x)
            pictures = torch.cat([noise(kept * x + (1 - kept) * instead), noise((1 - kept) * x + kept * instead)])
            perturbed, reverse = classifier.logits(pictures).chunk(2)
            found = terms(before, perturbed, reverse, mask, labels, multi_label=classifier.multi_label)
            return found.loss()

        start = torch.zeros(len(x), 1, *cells_of(x), device=x.device)
        return 1 - descended(start, loss, steps=self.steps, optimizer=partial(torch.optim.Adam, lr=self.rate))[:, 0]


def terms(
    before: Tensor, perturbed: Tensor, reverse: Tensor, mask: Tensor, labels: Tensor, *, multi_label: bool
) -> Terms:
    """The terms of the objective.

    Args:
        before: logits ``(batch, classes)`` of the pictures.
        perturbed: of the perturbed pictures.
        reverse: of the reversed pictures.
        mask: ``(batch, 1, height, width)``.
        labels: ``(batch,)``.
        multi_label: whether each logit is the log-odds of a label of its own.
    """
    own = F.one_hot(labels, before.shape[1]).bool()
    p, p_do, q_do = (probabilities(z, multi_label=multi_label) for z in (before, perturbed, reverse))
    weight = max(1, before.shape[1] - 1) if multi_label else 1

    def others(values: Tensor) -> Tensor:
        return values.masked_fill(own, 0.0).sum(1) / weight

    if multi_label:
        distortion = others(_distance(p, p_do))
    else:
        distortion = others(_distance(_without(before, own), _without(perturbed, own)))
    return Terms(
        _distance(p, p_do)[own],
        distortion,
        _distance(p, q_do)[own],
        others(torch.log2(q_do + 1)),
        (1 - mask).abs().mean((1, 2, 3)),
        variation(mask, 2),
    )


def _distance(p: Tensor, q: Tensor) -> Tensor:
    """``log2(|p - q| + 1)``, by class."""
    return torch.log2((p - q).abs() + 1)


def _without(z: Tensor, own: Tensor) -> Tensor:
    """Softmax over the other classes."""
    return z.masked_fill(own, -torch.inf).softmax(1)
