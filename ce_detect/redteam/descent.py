"""Projected gradient descent that all white-box attacks share: bounds, step sizes, and the best input so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ce_detect.core.types import Bounds
from ce_detect.redteam.target import Joint, Target, margin

HALVINGS = 5
"""Times that the step size is halved, at most; each stage starts from the best input of the ones before."""

SHORTEST = 5
"""Steps between two halvings, at least."""

FIRST_STEP = 0.5
"""First step size, in parts of the bound."""

BATCH = 32
"""Images that are attacked or judged at a time, so that activations stay in cache."""


@dataclass(slots=True)
class State:
    """Images under attack; gradients are taken with respect to ``x``.

    Attributes:
        x: ``(batch, channels, height, width)``, requires a gradient.
        seen: what the target makes of them.
        margin: ``(batch,)``, see `ce_detect.redteam.target.margin`.
        excess: ``(batch,)`` score above the threshold.
        weight: ``(batch,)`` positive weight of the detector's loss, for attacks that use one; they may change it.
        anchor: ``(batch, classes)`` logits of a clean image of another class.
    """

    x: Tensor
    seen: Joint
    margin: Tensor
    excess: Tensor
    weight: Tensor
    anchor: Tensor


class Descent(Protocol):
    """A white-box attack: the direction that it descends.

    Attributes:
        name: what tables call it.
        paper: where it comes from.
    """

    name: str
    paper: str

    def direction(self, state: State) -> Tensor:
        """Return the step to take for a step size of 1, of the shape of the images and at most about 1 a pixel."""
        ...


@dataclass(slots=True)
class Best:
    """The best inputs found so far: those that fool, by least score, before those that do not, by least margin.

    Attributes:
        x: ``(n, channels, height, width)``.
        margin: ``(n,)``, infinite where nothing was tried yet.
        excess: ``(n,)`` score above the threshold.
    """

    x: Tensor
    margin: Tensor
    excess: Tensor

    @classmethod
    def none(cls, x: Tensor) -> Best:
        """Nothing tried yet."""
        return cls(x.clone(), torch.full((len(x),), torch.inf), torch.full((len(x),), torch.inf))

    @property
    def fooled(self) -> Tensor:
        """Where the classifier is fooled ``(n,)``."""
        return self.margin < 0

    @property
    def evaded(self) -> Tensor:
        """Where the classifier is fooled and the input passes ``(n,)``."""
        return self.fooled & (self.excess <= 0)

    def offer(self, rows: Tensor, x: Tensor, margin: Tensor, excess: Tensor) -> None:
        """Keep what is better than before; ``rows`` are the positions of the offered images."""
        fooled, before = margin < 0, self.margin[rows] < 0
        lower = torch.where(fooled & before, excess < self.excess[rows], margin < self.margin[rows])
        better = torch.where(fooled == before, lower, fooled)
        kept = rows[better]
        self.x[kept], self.margin[kept], self.excess[kept] = x[better], margin[better], excess[better]


def project(x: Tensor, clean: Tensor, eps: Tensor, bounds: Bounds) -> Tensor:
    """The nearest images within ``eps`` ``(batch,)`` of the clean ones and within the bounds."""
    reach = eps.view(-1, 1, 1, 1)
    return torch.minimum(torch.maximum(x, clean - reach), clean + reach).clamp(*bounds)


def descend(
    attack: Descent,
    target: Target,
    x: Tensor,
    labels: Tensor,
    eps: Tensor,
    *,
    steps: int,
    anchors: Tensor,
    start: Tensor | None = None,
    goal: float = 0.0,
) -> Best:
    """Attack images, each until it evades by ``goal``, for at most ``steps`` steps.

    Args:
        attack: what chooses the direction.
        target: what is attacked.
        x: clean images ``(n, channels, height, width)``.
        labels: the classifier's decisions for them ``(n,)``, to be changed.
        eps: largest change of a pixel for each image ``(n,)``, in pixel values.
        steps: gradient steps.
        anchors: ``(n, classes)``, see `State`.
        start: where to start ``(n, channels, height, width)``; by default at the clean images.
        goal: an image is done when its score is so far below the threshold; infinite for never.
    """
    best = Best.none(x)
    begin = project(x if start is None else start, x, eps, target.bounds)
    for rows in torch.arange(len(x)).split(BATCH):
        _descend(attack, target, best, rows, x, begin, labels, eps, anchors, steps=steps, goal=goal)
    return best


def _descend(
    attack: Descent, target: Target, best: Best, rows: Tensor, x: Tensor, begin: Tensor, labels: Tensor, eps: Tensor,
    anchors: Tensor, *, steps: int, goal: float,
) -> None:  # fmt: skip
    """Attack the images at ``rows``, all of one batch."""
    now, weight, stage = begin[rows], torch.ones(len(rows)), 0
    stages = min(HALVINGS + 1, max(1, steps // SHORTEST))
    for step in range(steps + 1):
        state = _seen(target, now, labels[rows], weight, anchors[rows])
        best.offer(rows, state.x.detach(), state.margin.detach(), state.excess.detach())
        left = ~(best.fooled[rows] & (best.excess[rows] <= -goal))
        if step == steps or not left.any():
            return
        if (halved := step * stages // steps) != stage:
            stage, now = halved, best.x[rows]
        else:
            moved = torch.nan_to_num(attack.direction(state), nan=0.0, posinf=0.0, neginf=0.0)
            size = (FIRST_STEP * eps[rows] / 2**stage).view(-1, 1, 1, 1)
            now = project(state.x.detach() - size * moved, x[rows], eps[rows], target.bounds)
        rows, now, weight = rows[left], now[left], state.weight[left]


def _seen(target: Target, x: Tensor, labels: Tensor, weight: Tensor, anchor: Tensor) -> State:
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        seen = target.joint(leaf)
        return State(leaf, seen, margin(seen.logits, labels), seen.score - target.threshold, weight, anchor)


def gradient(of: Tensor, state: State, *, again: bool = False) -> Tensor:
    """Gradient of each image's own value ``(batch,)``; zero where there is none.

    Args:
        of: what to differentiate.
        state: the images.
        again: whether another gradient is to follow.
    """
    return slope(of, state.x, again=again)


def slope(of: Tensor, x: Tensor, *, again: bool = False) -> Tensor:
    """Gradient of values ``(batch,)`` at ``x``, zero where there is none; see `gradient`."""
    if not of.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(of.sum(), x, retain_graph=again, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def signs(gradients: Tensor) -> Tensor:
    """The steepest direction in the maximum norm."""
    return gradients.sign()


def normalized(gradients: Tensor) -> Tensor:
    """The gradient with a root mean square of 1 an image: keeps its angles, which signs do not."""
    size = gradients.square().mean((1, 2, 3), keepdim=True).sqrt()
    return gradients / size.clamp_min(1e-20)
