"""The signature of an input: effects of interventions, and what one forward pass gives for free."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import INPUT
from ce_detect.classifiers.torch import PENULTIMATE
from ce_detect.effects import EFFECTS, effects, log_odds
from ce_detect.errors import CalibrationError
from ce_detect.interventions import Intervention

TOP_LOGITS = 10
"""Number of largest logits that enter the signature."""

MARGIN_FLOOR = 1e-3
"""Added to the margin of the largest logit before its logarithm: minimum-norm attacks stop where it is tiny."""


class TraceStatistics(nn.Module):
    """Features from one forward pass: sorted logits, channel moments at some sites, class-activation contributions.

    Attributes:
        sites: where channel moments are taken.
        names: one name a feature.
    """

    head_weight: Tensor | None

    def __init__(self, classifier: Any, sites: tuple[str, ...]) -> None:
        super().__init__()
        self.sites = sites
        weight = classifier.head_weight
        self.register_buffer("head_weight", None if weight is None else weight.detach(), persistent=False)
        self.names = self._names(classifier)

    @property
    def needed_sites(self) -> tuple[str, ...]:
        """Sites whose latents the trace must keep."""
        return self.sites if self.head_weight is None else (*self.sites, PENULTIMATE)

    def forward(self, z: Tensor, latents: dict[str, Tensor]) -> Tensor:
        """Return ``(batch, features)`` from logits ``(batch, classes)`` and latents by site."""
        features = [self._logit_statistics(z)]
        for site in self.sites:
            features += moments(latents[site])
        if self.head_weight is not None:
            features.append(self._contributions(z, latents[PENULTIMATE]))
        return torch.cat(features, dim=1)

    def _logit_statistics(self, z: Tensor) -> Tensor:
        top = z.topk(min(TOP_LOGITS, z.shape[1]), dim=1)
        odds = log_odds(z, top.indices[:, 0])
        centred = top.values - z.mean(1, keepdim=True)
        margin = torch.log(top.values[:, 0] - top.values[:, 1] + MARGIN_FLOOR)
        return torch.cat([centred, torch.stack([odds, torch.logsumexp(z, 1), margin], dim=1)], dim=1)

    def _contributions(self, z: Tensor, penultimate: Tensor) -> Tensor:
        """What each penultimate feature adds to the winner, and to the winner over the runner-up."""
        assert self.head_weight is not None
        first, second = self.head_weight[z.topk(2, dim=1).indices].unbind(1)
        return torch.cat([penultimate * first, penultimate * (first - second)], dim=1)

    def _names(self, classifier: Any) -> tuple[str, ...]:
        count = min(TOP_LOGITS, classifier.num_classes)
        names = [f"trace.logit[{rank}]" for rank in range(count)]
        names += ["trace.log-odds", "trace.energy", "trace.log-margin"]
        shapes = site_shapes(classifier)
        for site in self.sites:
            channels = shapes[site][0] if len(shapes[site]) != 2 else shapes[site][1]
            names += [f"trace.{moment}[{site}][{i}]" for moment in ("mean", "deviation") for i in range(channels)]
        if self.head_weight is not None:
            width = self.head_weight.shape[1]
            names += [f"trace.{kind}[{i}]" for kind in ("contribution", "contrast") for i in range(width)]
        return tuple(names)


def moments(latent: Tensor) -> list[Tensor]:
    """Mean and standard deviation of each channel over its positions: two tensors ``(batch, channels)``.

    Feature maps are ``(batch, channels, height, width)``; token sequences ``(batch, tokens, channels)``.
    """
    positions = (2, 3) if latent.ndim == 4 else (1,)
    mean = latent.mean(positions)
    square = (latent * latent).mean(positions)
    return [mean, (square - mean * mean).clamp_min(0).add(1e-12).sqrt()]


def site_shapes(classifier: Any) -> dict[str, tuple[int, ...]]:
    """Shape of the latent at each site, without the batch."""
    with torch.no_grad():
        latents = classifier.trace(classifier.probe()).latents
    return {site: tuple(latent.shape[1:]) for site, latent in latents.items()}


def feature_names(intervention: Intervention) -> tuple[str, ...]:
    """Names of the features that an intervention gives: each effect, or its mean, least and largest over the draws."""
    if intervention.draws == 1:
        return tuple(f"{intervention.name}.{effect}" for effect in EFFECTS)
    return tuple(f"{intervention.name}.{effect}.{order}" for order in ("mean", "min", "max") for effect in EFFECTS)


class Signature(nn.Module):
    """Runs a classifier once, intervenes, and returns logits and features.

    Attributes:
        classifier: see `ce_detect.classifiers.base.Classifier`.
        interventions: what is done, in the order of their features.
        statistics: what the one forward pass gives for free.
        names: one name a feature.
        chunk: rows that are resumed at a time (whole draws, one at least), so that activations stay in cache; None for
            no limit.

    Raises:
        CalibrationError: an intervention or a statistic at a site that the classifier does not have, or that is no
            feature map ``(batch, channels, height, width)`` for an intervention.
    """

    def __init__(
        self,
        classifier: Any,
        interventions: list[Intervention],
        *,
        sites: tuple[str, ...] = (),
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        _check_sites(classifier, [*(i.site for i in interventions), *sites])
        _check_latents(classifier, interventions)
        self.classifier = classifier
        self.interventions = nn.ModuleList(interventions)
        self.statistics = TraceStatistics(classifier, sites)
        self.names = self.statistics.names + tuple(n for i in interventions for n in feature_names(i))
        self.chunk = chunk
        needed = {*self.statistics.needed_sites, *(i.site for i in interventions)}
        self._sites = tuple(site for site in classifier.sites if site in needed)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(batch, classes)`` and the signature ``(batch, features)``."""
        z, latents = self.classifier.trace(x, self._sites)
        features = [self.statistics(z, latents)]
        for z_do in self._resumed(x, latents):
            change = effects(z, z_do)
            if len(z_do) == 1:
                features.append(change[0])
            else:
                features += [change.mean(0), change.amin(0), change.amax(0)]
        return z, torch.cat(features, dim=1)

    def _resumed(self, x: Tensor, latents: dict[str, Tensor]) -> list[Tensor]:
        """Logits ``(draws, batch, classes)`` after each intervention; equal sites and shapes share a resume."""
        groups: dict[tuple[Any, ...], list[tuple[int, Tensor]]] = {}
        for position, module in enumerate(self.interventions):
            site = str(module.site)
            changed = module(latents.get(site, x))
            groups.setdefault((site, *changed.shape[1:]), []).append((position, changed))
        done: dict[int, Tensor] = {}
        for (site, *_), members in groups.items():
            stacked = torch.cat([changed for _, changed in members]) if len(members) > 1 else members[0][1]
            z_do = self._resume(site, stacked, x)
            sizes = [len(changed) for _, changed in members]
            for (position, _), part in zip(members, z_do.split(sizes), strict=True):
                done[position] = part.unflatten(0, (-1, x.shape[0]))
        return [done[position] for position in range(len(self.interventions))]

    def _resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        if self.chunk is None or latent.shape[0] <= self.chunk:
            z: Tensor = self.classifier.resume(site, latent, x)
            return z
        step = max(1, self.chunk // x.shape[0]) * x.shape[0]  # whole draws, as a hooked classifier needs
        return torch.cat([self.classifier.resume(site, part, x) for part in latent.split(step)])


def _check_latents(classifier: Any, interventions: list[Intervention]) -> None:
    at_latents = [i for i in interventions if i.site != INPUT]
    shapes = site_shapes(classifier) if at_latents else {}
    for intervention in at_latents:
        if len(shapes[intervention.site]) != 3:
            raise CalibrationError(
                f"{intervention.name} needs a feature map (channels, height, width), but the latent at "
                f"{intervention.site!r} has shape {shapes[intervention.site]}"
            )


def _check_sites(classifier: Any, wanted: list[str]) -> None:
    there = (INPUT, *classifier.sites)
    missing = [site for site in wanted if site not in there]
    if missing:
        raise CalibrationError(f"no site {missing[0]!r} in this classifier; there are: {', '.join(there)}")
