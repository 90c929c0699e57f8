"""Every white-box attack on every image, and the smallest perturbation with which any of them gets through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ce_detect.core.types import Index
from ce_detect.redteam.descent import BATCH, Best, Descent, descend
from ce_detect.redteam.joint_margin import JointMargin
from ce_detect.redteam.logit_matching import LogitMatching, anchors
from ce_detect.redteam.orthogonal import Orthogonal
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.settings import Sizes
from ce_detect.redteam.target import Joint, Target, margin

WHITE_BOX: tuple[Descent, ...] = (Selective(), JointMargin(), Orthogonal(), LogitMatching())
"""Every white-box attack, those first that succeed most often."""

LEADING = 2
"""Attacks that bisect; the others only try to do better than they did."""

FIRST_STRIDE = 3
"""Levels between the first two that are tried where a guess says where to begin; each next stride is twice as long."""

MOST_IMPROVEMENTS = 4
"""Levels that an attack goes down after the bisection, at most."""

Report = Callable[[float, float], None]
"""Called with the work done so far and the work in all."""


@dataclass(frozen=True, slots=True)
class Case:
    """Images and what the attacker is after.

    Attributes:
        x: clean images ``(n, channels, height, width)``.
        labels: the classifier's decisions for them ``(n,)``, to be changed.
        anchors: ``(n, classes)`` logits of other clean images, see `ce_detect.redteam.logit_matching.anchors`.
    """

    x: Tensor
    labels: Tensor
    anchors: Tensor

    @classmethod
    def of(cls, target: Target, x: Tensor) -> Case:
        """Take the target's own decisions for ``x`` as the labels to be changed."""
        logits = judged(target, x).logits
        labels = logits.argmax(1)
        return cls(x, labels, anchors(logits, labels))

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: Tensor) -> Case:
        """Some of the images."""
        return Case(self.x[rows], self.labels[rows], self.anchors[rows])


def judged(target: Target, x: Tensor) -> Joint:
    """What a target makes of many inputs, without gradients."""
    with torch.no_grad():
        return Joint(*map(torch.cat, zip(*(target.joint(part) for part in x.split(BATCH)), strict=True)))


def evades(target: Target, case: Case, x: Tensor) -> Tensor:
    """Where inputs fool the classifier and pass ``(n,)``."""
    seen = judged(target, x)
    return (margin(seen.logits, case.labels) < 0) & (seen.score <= target.threshold)


def union(
    target: Target, case: Case, eps: Tensor, *, steps: int, attacks: tuple[Descent, ...] = WHITE_BOX,
    restarts: int = 0, start: Tensor | None = None, seed: int = 0,
) -> Best:  # fmt: skip
    """Attack every image with one attack after the other until one gets through.

    Args:
        target: what is attacked.
        case: images and their labels.
        eps: largest change of a pixel for each image ``(n,)``, in pixel values.
        steps: gradient steps of each attack.
        attacks: what to try.
        restarts: how often all are tried again from random inputs within the bound.
        start: where the first attack starts; the others, and by default it too, start at the clean images.
        seed: seed of the random starts.
    """
    generator = torch.Generator().manual_seed(seed)
    best = Best.none(case.x)
    for turn in range(restarts + 1):
        for position, attack in enumerate(attacks):
            left = torch.nonzero(~best.evaded).squeeze(1)
            if not len(left):
                return best
            part, reach = case.at(left), eps[left]
            begin = start[left] if start is not None and turn == position == 0 else None
            if turn:
                noise = torch.rand(part.x.shape, generator=generator) * 2 - 1
                begin = part.x + noise * reach.view(-1, 1, 1, 1)
            found = descend(attack, target, part.x, part.labels, reach, steps=steps, anchors=part.anchors, start=begin)
            best.offer(left, found.x, found.margin, found.excess)
    return best


def radii(
    target: Target, case: Case, levels: Sizes, *, steps: int, restarts: int = 0,
    attacks: tuple[Descent, ...] = WHITE_BOX, truth: Target | None = None, seed: int = 0,
    near: Sizes | None = None, report: Report | None = None,
) -> tuple[Sizes, Tensor]:  # fmt: skip
    """Find the smallest level at which each image gets through.

    The first `LEADING` attacks bisect the levels, or those around a guess: from there they go up or down in strides
    that double until one level fails and one is enough, so that a wrong guess costs time and nothing else. Each of the
    others then tries the next smaller level than the one that was found, and goes on from there while it gets through.
    What got through at one level starts the attack at a smaller one, shrunk towards the clean image.

    Args:
        target: what the attacker sees and attacks.
        case: images and their labels.
        levels: bounds on the change of a pixel, ascending, in pixel values.
        steps: gradient steps of each attack at each level.
        restarts: see `union`.
        attacks: what to try.
        truth: what decides whether an input gets through, where the attacker does not see all of it.
        seed: seed of random starts.
        near: where to begin ``(n,)``, in pixel values, such as the radii of the classifier alone.
        report: called after each round.

    Returns:
        Levels ``(n,)``, infinite where no level was enough, and the inputs that got through there (clean elsewhere).
    """
    found = _Smallest(target, truth, case, levels, steps, restarts, seed)
    brackets = _Brackets(len(case), levels, near)
    others = attacks[LEADING:]
    total = brackets.rounds + len(others)
    turn = 0
    while len(rows := brackets.open(found.high)):
        places = brackets.next(rows, found.high)
        brackets.fail(rows, places, found.tried(rows, places, attacks[:LEADING]))
        turn += 1
        if report is not None:
            report(min(turn, brackets.rounds), total)
    for turn, attack in enumerate(others):
        rows = np.flatnonzero(found.high > 0)
        for _ in range(MOST_IMPROVEMENTS):
            rows = rows[found.tried(rows, found.high[rows] - 1, (attack,))]
            rows = rows[found.high[rows] > 0]
        if report is not None:
            report(brackets.rounds + turn + 1, total)
    return np.append(levels, np.inf)[found.high], found.through


class _Brackets:
    """Which level to try next: between the largest that failed and the smallest that was enough.

    Attributes:
        rounds: how many are expected.
    """

    def __init__(self, count: int, levels: Sizes, near: Sizes | None) -> None:
        self.low, self.most = np.full(count, -1), len(levels)
        self.rounds = int(np.ceil(np.log2(len(levels) + 1)))
        self.near = None if near is None else np.searchsorted(levels, near * (1 - 1e-6))
        self.stride = np.full(count, FIRST_STRIDE)

    def open(self, high: Index) -> Index:
        """Images for which there is a level to try, where ``high`` ``(n,)`` are enough."""
        return np.flatnonzero(high - self.low > 1)

    def next(self, rows: Index, high: Index) -> Index:
        """The level that each of the images at ``rows`` tries next."""
        low, high = self.low[rows], high[rows]
        middle = (low + high) // 2
        if self.near is None:
            return middle
        failed, enough, stride = low >= 0, high < self.most, self.stride[rows]
        begun = failed | enough
        striding = np.where(failed, low + stride, np.where(enough, high - stride, self.near[rows] + FIRST_STRIDE))
        self.stride[rows] = np.where(begun, stride * 2, stride)
        return np.where(failed & enough, middle, np.clip(striding, low + 1, high - 1))

    def fail(self, rows: Index, places: Index, evaded: NDArray[np.bool_]) -> None:
        """Take note of the levels that were not enough."""
        self.low[rows[~evaded]] = places[~evaded]


class _Smallest:
    """The smallest level that is known to be enough for each image, and what got through there.

    Attributes:
        high: position of the level ``(n,)``; their number where none is known.
        through: inputs that got through.
    """

    def __init__(
        self, target: Target, truth: Target | None, case: Case, levels: Sizes, steps: int,
        restarts: int, seed: int,
    ) -> None:  # fmt: skip
        self.target, self.truth, self.case, self.levels = target, truth, case, levels
        self.steps, self.restarts, self.seed = steps, restarts, seed
        self.high, self.through = np.full(len(case), len(levels)), case.x.clone()

    def tried(self, rows: Index, places: Index, attacks: tuple[Descent, ...]) -> NDArray[np.bool_]:
        """Attack the images at ``rows``, each at its level, and say which get through."""
        if not len(rows):
            return np.zeros(0, bool)
        at = torch.from_numpy(rows)
        part, reach = self.case.at(at), torch.from_numpy(self.levels[places]).float()
        best = union(
            self.target, part, reach, steps=self.steps, restarts=self.restarts, attacks=attacks,
            start=_shrunk(self.through[at], part.x, reach), seed=self.seed,
        )  # fmt: skip
        evaded = best.evaded if self.truth is None else evades(self.truth, part, best.x)
        used = (best.x - part.x).abs().amax((1, 2, 3)).numpy() * (1 - 1e-4)  # it may have taken less than it was given
        success: NDArray[np.bool_] = evaded.numpy()
        self.through[at[evaded]] = best.x[evaded]
        self.high[rows[success]] = np.minimum(places, np.searchsorted(self.levels, used))[success]
        return success


def _shrunk(x: Tensor, clean: Tensor, reach: Tensor) -> Tensor:
    change = x - clean
    largest = change.abs().amax((1, 2, 3)).clamp_min(1e-12)
    return clean + change * (reach / largest).clamp(max=1).view(-1, 1, 1, 1)
