"""What one forward pass gives for free: logits, moments of channels, and what each feature adds to the decision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import PENULTIMATE, Classifier, positions, site_shapes
from ce_detect.classifiers.log_odds import energy

TOP_LOGITS = 10
"""Number of largest logits that enter the signature."""

MARGIN_FLOOR = 0.1
"""Added to the margin of the largest logit before its logarithm: minimum-norm attacks stop where it is tiny. Not less:
logits differ in the sixth digit from one runtime to another, and the logarithm must not make verdicts of that."""

LOG_ODDS = "trace.log-odds"
"""Name of the feature that is the log-odds of the decision."""

WIDE = 128
"""Penultimate features beyond which only the most extreme contributions enter the signature: each on its own would be
one more feature to learn from a few hundred images, and belong to a few classes only."""

EXTREMES = 16
"""Number of largest, and of smallest, contributions that enter it then."""


class ActivationStatistics(nn.Module):
    """Features from one forward pass: sorted logits, channel moments at some sites, class-activation contributions.

    Attributes:
        sites: where channel moments are taken.
        names: one name a feature.
    """

    head_weight: Tensor | None

    def __init__(self, classifier: Classifier, sites: tuple[str, ...]) -> None:
        super().__init__()
        self.sites = sites
        self.multi_label = classifier.multi_label
        weight = classifier.head_weight
        self.register_buffer("head_weight", None if weight is None else weight.detach(), persistent=False)
        self.names = self._names(classifier)

    @property
    def needed_sites(self) -> tuple[str, ...]:
        """Sites whose latents the trace must keep."""
        return self.sites if self.head_weight is None else (*self.sites, PENULTIMATE)

    def forward(self, z: Tensor, latents: dict[str, Tensor]) -> Tensor:
        """Return ``(batch, features)`` from logits ``(batch, classes)`` and latents by site."""
        top = z.topk(min(TOP_LOGITS, z.shape[1]), dim=1)
        features = self._logit_statistics(z, *top)
        for site in self.sites:
            features += moments(latents[site])
        if self.head_weight is not None:
            features += self._contributions(self.head_weight[top.indices[:, :2]], latents[PENULTIMATE])
        return torch.cat(features, dim=1)

    def _logit_statistics(self, z: Tensor, top: Tensor, at: Tensor) -> list[Tensor]:
        first, second = top[:, :1], top[:, 1:2]
        if top.shape[1] == z.shape[1]:
            rivals = top[:, 1:]
        else:
            rivals = z.masked_fill(at[:, :1] == torch.arange(z.shape[1], device=z.device), -torch.inf)
        odds = first if self.multi_label else first - rivals.logsumexp(1, keepdim=True)
        total = energy(z, multi_label=self.multi_label)[:, None]
        return [top - z.mean(1, keepdim=True), odds, total, torch.log(first - second + MARGIN_FLOOR)]

    def _contributions(self, weights: Tensor, penultimate: Tensor) -> list[Tensor]:
        """What each penultimate feature adds to the winner, and to the winner over the runner-up.

        Args:
            weights: of winner and runner-up, ``(batch, 2, width)``.
            penultimate: ``(batch, width)``.
        """
        first, second = weights.unbind(1)
        kinds = [penultimate * first, penultimate * (first - second)]
        if penultimate.shape[1] > WIDE:
            kinds = [part for kind in kinds for part in (kind.topk(EXTREMES).values, (-kind).topk(EXTREMES).values)]
        return kinds

    def _names(self, classifier: Classifier) -> tuple[str, ...]:
        count = min(TOP_LOGITS, classifier.num_classes)
        names = [f"trace.logit[{rank}]" for rank in range(count)]
        names += [LOG_ODDS, "trace.energy", "trace.log-margin"]
        shapes = site_shapes(classifier)
        for site in self.sites:
            channels = shapes[site][0] if len(shapes[site]) != 2 else shapes[site][1]
            names += [f"trace.{moment}[{site}][{i}]" for moment in ("mean", "deviation") for i in range(channels)]
        if self.head_weight is not None:
            width = self.head_weight.shape[1]
            which = [str(i) for i in range(width)]
            if width > WIDE:
                which = [f"{end} {rank}" for end in ("largest", "smallest") for rank in range(EXTREMES)]
            names += [f"trace.{kind}[{one}]" for kind in ("contribution", "contrast") for one in which]
        return tuple(names)


def moments(latent: Tensor) -> list[Tensor]:
    """Mean and standard deviation of each channel over its positions: two tensors ``(batch, channels)``.

    Feature maps are ``(batch, channels, height, width)``; token sequences ``(batch, tokens, channels)``.
    """
    mean = latent.mean(positions(latent))
    square = (latent * latent).mean(positions(latent))
    return [mean, (square - mean * mean).clamp_min(0).add(1e-12).sqrt()]
