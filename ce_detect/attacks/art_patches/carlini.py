"""Carlini-Wagner in batches, each image only for as long as it gains by it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from art.attacks import evasion
from torch import Tensor

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.core.types import Floats

LEAST_GAIN = 0.01
"""Share of its loss that a step must take off; an image that gains less is done with the weight that it has."""

NEAR = 0.6
"""Part of the smallest weight that fools which the largest that does not fool must reach: then the search is over."""

_INSIDE = 0.999999
"""Keeps black and white pixels off the ends of the hyperbolic tangent, which are at infinity; the same as in ART."""


class CarliniL2Method(evasion.CarliniL2Method):  # type: ignore[misc]
    """ART's settings, loss and line search on tensors, without the steps that change nothing.

    ART takes two gradients for a step, runs all images through every step and round, and when it has found a weight
    repeats it until the rounds are over. Here an image leaves a round at `LEAST_GAIN`, and the search at `NEAR`; it
    starts a round with the step size with which the last one began. Distances are shares of the pixel range, so the
    weight means the same for all bounds.

    Of the libraries that have this attack none lets single images stop: foolbox and adv-lib end a round when the whole
    batch stands still, and torchattacks has no search for the weight.
    """

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot. What cannot be fooled stays as it was."""
        low, high = self.estimator.clip_values
        given = self.estimator.tensor(x)
        labels = self.estimator.labels(x) if y is None else y.argmax(1)
        task = _Task(
            self.estimator, (given - low) / (high - low), torch.as_tensor(labels, device=given.device),
            aimed=self.targeted, confidence=self.confidence, batch_size=self.batch_size,
        )  # fmt: skip
        best = self._searched(task)
        attacked = torch.where((best.margin < 0)[:, None, None, None], best.pixels * (high - low) + low, given)
        found: Floats = attacked.clamp(low, high).cpu().numpy()
        return found

    def _searched(self, task: _Task) -> _Points:
        """The nearest points that fool, over rounds in each of which an image has another weight."""
        start = task.start()
        best = start.copy()
        weight, rate = (torch.full_like(start.margin, value) for value in (self.initial_const, self.learning_rate))
        lower, upper = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        rows = torch.arange(len(weight), device=weight.device)
        for _ in range(self.binary_search_steps):
            if not len(rows):
                break
            found, rate[rows] = self._round(task.of(rows), start.of(rows), weight[rows], rate[rows])
            best.improve(rows, found)
            fooled = found.margin < 0
            upper[rows[fooled]], lower[rows[~fooled]] = weight[rows[fooled]], weight[rows[~fooled]]
            weight = torch.where(upper.isinf(), 2 * weight, (lower + upper) / 2)
            rows = rows[lower[rows] < NEAR * upper[rows]]
        return best

    def _round(self, task: _Task, start: _Points, weight: Tensor, rate: Tensor) -> tuple[_Points, Tensor]:
        """The nearest points that fool on one way down, and the step sizes with which it began."""
        now, best, rate = start.copy(), start.copy(), rate.clone()
        first = rate
        rows = torch.arange(len(weight), device=weight.device)
        for step in range(self.max_iter):
            if not len(rows):
                break
            before, part = now.of(rows), weight[rows]
            after, rate[rows] = self._step(task.of(rows), before, part, rate[rows])
            if step == 0:
                first = rate.clone()
            now.put(rows, after)
            best.improve(rows, after)
            rows = rows[before.loss(part) - after.loss(part) > LEAST_GAIN * before.loss(part)]
        return best, first

    def _step(self, task: _Task, start: _Points, weight: Tensor, rate: Tensor) -> tuple[_Points, Tensor]:
        """Points one step down and its size: halved until the loss falls, or else doubled for as long as it falls."""
        slope, best, rate = task.slope(start, weight), start.copy(), rate.clone()

        def falls(rows: Tensor) -> Tensor:
            tried = task.of(rows).at(start.hyperbolic[rows] - rate[rows, None, None, None] * slope[rows])
            better = tried.loss(weight[rows]) < best.of(rows).loss(weight[rows])
            best.put(rows[better], tried.of(better))
            return better

        rows = torch.arange(len(rate), device=rate.device)
        better = falls(rows)
        longer, shorter = rows[better], rows[~better]
        for _ in range(self.max_halving - 1):
            if not len(shorter):
                break
            rate[shorter] /= 2
            shorter = shorter[~falls(shorter)]
        for _ in range(self.max_doubling):
            if not len(longer):
                break
            rate[longer] *= 2
            better = falls(longer)
            rate[longer[~better]] /= 2
            longer = longer[better]
        return best, rate


@dataclass(frozen=True, slots=True)
class _Points:
    """Where images are on their way.

    Attributes:
        hyperbolic: ``(n, channels, height, width)`` before the hyperbolic tangent, which keeps pixels within bounds.
        pixels: the same as pixels, in [0, 1].
        distance: ``(n,)`` squared L2 distance to the clean images.
        margin: ``(n,)`` by which the logits miss what is wanted; below 0 the classifier is fooled.
    """

    hyperbolic: Tensor
    pixels: Tensor
    distance: Tensor
    margin: Tensor

    def loss(self, weight: Tensor) -> Tensor:
        """What is to become small ``(n,)``."""
        return weight * self.margin.clamp(min=0) + self.distance

    def of(self, rows: Tensor) -> _Points:
        """Some of them, by positions or by a mask."""
        return _Points(self.hyperbolic[rows], self.pixels[rows], self.distance[rows], self.margin[rows])

    def copy(self) -> _Points:
        """The same, to be changed."""
        return _Points(self.hyperbolic.clone(), self.pixels.clone(), self.distance.clone(), self.margin.clone())

    def put(self, rows: Tensor, others: _Points) -> None:
        """Replace some of them."""
        self.hyperbolic[rows], self.pixels[rows] = others.hyperbolic, others.pixels
        self.distance[rows], self.margin[rows] = others.distance, others.margin

    def improve(self, rows: Tensor, others: _Points) -> None:
        """Replace those for which another fools, and does so from nearer where they fool too."""
        nearer = (self.margin[rows] >= 0) | (others.distance < self.distance[rows])
        better = (others.margin < 0) & nearer
        self.put(rows[better], others.of(better))


@dataclass(frozen=True, slots=True)
class _Task:
    """Images, and what is wanted of each.

    Attributes:
        estimator: the classifier, as ART sees it.
        clean: ``(n, channels, height, width)`` in [0, 1].
        labels: classes ``(n,)`` to get away from, or to reach.
        aimed: whether they are to be reached.
        confidence: by how much, in logits.
        batch_size: images that are run together.
    """

    estimator: Estimator
    clean: Tensor
    labels: Tensor
    aimed: bool
    confidence: float
    batch_size: int

    def of(self, rows: Tensor) -> _Task:
        """The same for some of the images."""
        return replace(self, clean=self.clean[rows], labels=self.labels[rows])

    def start(self) -> _Points:
        """The clean images themselves."""
        hyperbolic = torch.atanh((2 * self.clean - 1) * _INSIDE)
        return _Points(hyperbolic, self.clean, torch.zeros_like(self.clean[:, 0, 0, 0]), self._margins(self.clean))

    def at(self, hyperbolic: Tensor) -> _Points:
        """Points, one for each image."""
        pixels = (torch.tanh(hyperbolic) + 1) / 2
        distance = (pixels - self.clean).square().sum((1, 2, 3))
        return _Points(hyperbolic, pixels, distance, self._margins(pixels))

    def slope(self, points: _Points, weight: Tensor) -> Tensor:
        """Gradient of the loss by the hyperbolic values; the margin counts below 0, too, as in ART."""
        slopes = []
        for pixels, labels in zip(
            points.pixels.split(self.batch_size), self.labels.split(self.batch_size), strict=True
        ):
            inputs = pixels.detach().requires_grad_(True)
            slopes += torch.autograd.grad(self._margin(inputs, labels).sum(), inputs)
        by_pixel = weight[:, None, None, None] * torch.cat(slopes) + 2 * (points.pixels - self.clean)
        return by_pixel * (1 - torch.tanh(points.hyperbolic).square()) / 2

    def _margins(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            parts = zip(pixels.split(self.batch_size), self.labels.split(self.batch_size), strict=True)
            return torch.cat([self._margin(*part) for part in parts])

    def _margin(self, pixels: Tensor, labels: Tensor) -> Tensor:
        low, high = self.estimator.clip_values
        logits = self.estimator.logits(pixels * (high - low) + low)
        own = logits.gather(1, labels[:, None])[:, 0]
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        return (other - own if self.aimed else own - other) + self.confidence
