"""Square attack on the gated system: random search that sees logits and score, and no gradient.

After Andriushchenko et al. 2020 (arXiv 1912.00049).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.redteam.descent import BATCH, Best
from ce_detect.redteam.joint_margin import CONFIDENCE
from ce_detect.redteam.target import Target, margin

NAME = "square"

FIRST_SHARE = 0.3
"""Share of the picture that the first squares cover; the paper's schedule halves it over the queries."""

_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Parts of all queries after which the share is halved (section 3.4 of the paper, rescaled to any number)."""


def square(target: Target, x: Tensor, labels: Tensor, eps: Tensor, *, queries: int, generator: torch.Generator) -> Best:
    """Attack images, each until it evades, with at most ``queries`` queries.

    Args:
        target: what is attacked.
        x: clean images ``(n, channels, height, width)``.
        labels: the classifier's decisions for them ``(n,)``, to be changed.
        eps: largest change of a pixel for each image ``(n,)``.
        queries: how often an image may be judged.
        generator: where random squares come from.
    """
    best = Best.none(x)
    for rows in torch.arange(len(x)).split(BATCH):
        _search(target, best, rows, x, labels, eps, queries, generator)
    return best


def _search(
    target: Target, best: Best, rows: Tensor, x: Tensor, labels: Tensor, eps: Tensor, queries: int,
    generator: torch.Generator,
) -> None:  # fmt: skip
    channels, width = x.shape[1], x.shape[3]
    stripes = _signs((len(rows), channels, 1, width), generator)
    now = (x[rows] + eps[rows].view(-1, 1, 1, 1) * stripes).clamp(*target.bounds)
    loss = _judged(target, best, rows, now, labels[rows])
    for query in range(1, queries):
        left = ~best.evaded[rows]
        if not left.any():
            return
        rows, now, loss = rows[left], now[left], loss[left]
        tried = now.clone()
        for position, row in enumerate(rows.tolist()):
            at = _window(x.shape[2], width, query / queries, generator)
            changed = x[row][at] + eps[row] * _signs((channels, 1, 1), generator)
            tried[position][at] = changed.clamp(*target.bounds)
        found = _judged(target, best, rows, tried, labels[rows])
        better = found < loss
        now, loss = torch.where(better.view(-1, 1, 1, 1), tried, now), torch.where(better, found, loss)


def _judged(target: Target, best: Best, rows: Tensor, x: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        seen = target.joint(x)
    short, excess = margin(seen.logits, labels), seen.score - target.threshold
    best.offer(rows, x, short, excess)
    return torch.relu(short + CONFIDENCE) + torch.relu(excess + CONFIDENCE)


def _window(height: int, width: int, done: float, generator: torch.Generator) -> tuple[slice, slice, slice]:
    share = FIRST_SHARE / 2 ** sum(done > part for part in _HALVINGS)
    side = max(1, min(round((share * height * width) ** 0.5), height, width))
    top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for size in (height, width))
    return slice(None), slice(top, top + side), slice(left, left + side)


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(2, shape, generator=generator).float() * 2 - 1
