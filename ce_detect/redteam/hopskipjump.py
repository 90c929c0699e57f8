"""HopSkipJump on the gated system: the attacker sees the decision and whether the input was let through.

After Chen et al. 2020 (arXiv 1904.02144).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from art.attacks import evasion
from torch import Tensor

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.redteam.radii import judged
from ce_detect.redteam.target import Joint, Target, margin

NAME = "hopskipjump"

SETTINGS = {"max_iter": 8, "max_eval": 200, "init_eval": 50}
"""Settings of ART's implementation; about 2,000 queries an image."""


class _Evaded:
    """One image's question as a classifier of two classes: is the label changed and the input let through?"""

    num_classes = 2

    def __init__(self, target: Target, label: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
        self.target, self.label = target, label
        self.bounds, self.input_shape, self.device = target.bounds, shape, device

    def logits(self, x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(_evades(self.target, self.target.joint(x), self.label).long(), 2).float()


def hopskipjump(target: Target, x: Tensor, labels: Tensor, *, seed: int) -> Tensor:
    """Largest change of a pixel with which each image evades ``(n,)``; infinite where there was no start.

    Each image starts from the nearest of the others that has another label and is let through.

    Args:
        target: what is attacked.
        x: clean images ``(n, channels, height, width)``.
        labels: the classifier's decisions for them ``(n,)``.
        seed: seed of the queries.
    """
    seen = judged(target, x)
    found = torch.full((len(x),), torch.inf)
    with _seeded(seed):
        for row in range(len(x)):
            starts = x[_evades(target, seen, labels[row : row + 1].expand(len(x)))]
            if len(starts):
                found[row] = _nearest(target, x[row : row + 1], labels[row : row + 1], starts)
    return found


def _evades(target: Target, seen: Joint, labels: Tensor) -> Tensor:
    return (margin(seen.logits, labels.expand(len(seen.logits))) < 0) & (seen.score <= target.threshold)


def _nearest(target: Target, x: Tensor, label: Tensor, starts: Tensor) -> float:
    start = starts[(starts - x).square().sum((1, 2, 3)).argmin()][None]
    question: Any = _Evaded(target, label, tuple(x.shape[1:]), x.device)
    estimator = Estimator(question, access="decisions")
    attack = evasion.HopSkipJump(estimator, norm=np.inf, verbose=False, **SETTINGS)
    attacked = torch.from_numpy(attack.generate(x=x.numpy(), x_adv_init=start.numpy()))
    with torch.no_grad():
        evaded = bool(_evades(target, target.joint(attacked), label))
    return float((attacked - x).abs().max()) if evaded else torch.inf


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generator that ART draws from, and put it back."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
