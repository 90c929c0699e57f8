"""The signature of an input: effects of interventions, and what one forward pass gives for free.

What is computed, and under which name. How the classifier is run for it is in `ce_detect.features.plan`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier, Trace
from ce_detect.features.activations import ActivationStatistics
from ce_detect.features.effects import EFFECTS, effects
from ce_detect.features.fakeness import Fakeness
from ce_detect.features.image_gradients import ImageGradients
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.plan import ExecutionPlan, Outcomes, check
from ce_detect.features.shapley import ShapleyValues
from ce_detect.interventions import Intervention

BATCH = 128
"""Inputs to take at a time where there are many, and no chunk says how many."""


def feature_names(intervention: Intervention) -> tuple[str, ...]:
    """Names of the features that an intervention gives: each effect, or its mean, least and largest over the draws.

    Where draw 0 is a reference, its own effects come first, as those of insertion.
    """
    if intervention.reference:
        inserted = tuple(f"{intervention.name}.{effect}.inserted" for effect in EFFECTS)
        return inserted + _orders(intervention)
    if intervention.draws == 1:
        return tuple(f"{intervention.name}.{effect}" for effect in EFFECTS)
    return _orders(intervention)


def _orders(intervention: Intervention) -> tuple[str, ...]:
    return tuple(f"{intervention.name}.{effect}.{order}" for order in ("mean", "min", "max") for effect in EFFECTS)


class Signature(nn.Module):
    """Runs a classifier once, intervenes, and returns logits and features.

    Attributes:
        classifier: see `ce_detect.classifiers.base.Classifier`.
        interventions: what is done, in the order of their features.
        statistics: what the one forward pass gives for free.
        image_gradients: what the picture itself gives.
        layer_consistency: how far early sites follow from the deepest one, or None.
        shapley: what the penultimate activations add to the highest logits, or None.
        fakeness: how fake an input looks, or None.
        names: one name a feature.
        free: how many of the features, the first ones, one forward pass gives without any intervention.
        plan: how all of this is run.
    """

    def __init__(
        self,
        classifier: Classifier,
        interventions: list[Intervention],
        *,
        sites: tuple[str, ...] = (),
        layer_consistency: LayerConsistency | None = None,
        shapley: ShapleyValues | None = None,
        fakeness: Fakeness | None = None,
        chunk: int | None = None,
    ) -> None:
        """Put the features together.

        Args:
            classifier: see `Signature`.
            interventions: see `Signature`.
            sites: where moments of channels are taken.
            layer_consistency: see `Signature`.
            shapley: see `Signature`.
            fakeness: see `Signature`.
            chunk: rows that are resumed at a time (whole draws, one at least), so that activations stay in cache; None
                for no limit.

        Raises:
            CalibrationError: an intervention or a statistic at a site that the classifier does not have, or whose
                tensor is neither a feature map ``(batch, channels, height, width)`` nor tokens
                ``(batch, tokens, channels)`` that the intervention takes.
        """
        super().__init__()
        learned = [part for part in (layer_consistency, shapley) if part is not None]
        compared = tuple(site for part in learned for site in part.sites)
        check(classifier, interventions, (*sites, *compared))
        for intervention in interventions:
            intervention.attach(classifier)
        self.classifier = classifier
        self.interventions = nn.ModuleList(interventions)
        self.statistics = ActivationStatistics(classifier, sites)
        self.image_gradients = ImageGradients(classifier.input_shape[0], classifier.bounds)
        self.layer_consistency = layer_consistency
        self.shapley = shapley
        self.fakeness = fakeness
        self.names = self.statistics.names + self.image_gradients.names
        self.names += tuple(name for part in learned for name in part.names)
        self.names += () if fakeness is None else fakeness.names
        self.free = len(self.names)
        self.names += tuple(name for intervention in interventions for name in feature_names(intervention))
        self.plan = ExecutionPlan(
            classifier, interventions, sites=(*self.statistics.needed_sites, *compared), chunk=chunk
        )

    def intervening(self, interventions: list[Intervention]) -> Signature:
        """The same free features, with other interventions."""
        return Signature(
            self.classifier,
            interventions,
            sites=self.statistics.sites,
            layer_consistency=self.layer_consistency,
            shapley=self.shapley,
            fakeness=self.fakeness,
            chunk=self.chunk,
        )

    @property
    def chunk(self) -> int | None:
        """Rows that are resumed at a time; None for no limit."""
        return self.plan.chunk

    @property
    def batch(self) -> int:
        """Inputs to take at a time where there are many."""
        return self.chunk or BATCH

    @property
    def changed(self) -> tuple[str, ...]:
        """Sites beyond the input whose tensors the interventions take."""
        return self.plan.changed

    def forward(self, x: Tensor, *, one_pass: bool | None = None) -> tuple[Tensor, Tensor]:
        """Return logits ``(batch, classes)`` and the signature ``(batch, features)``.

        Args:
            x: inputs ``(batch, channels, height, width)``.
            one_pass: whether interventions that may go with the one forward pass do, all rows at once whatever the
                chunk: a graph has one path. None: as the size of the batch suggests.
        """
        (z, latents), done = self.plan.run(x, one_pass=one_pass)
        return z, torch.cat(self._free(x, z, latents) + self._intervened(z, done), dim=1)

    def first(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return logits, the `free` features, and the latents at the sites that the interventions change."""
        z, latents = self.plan.trace(x)
        kept = {site: latents[site] for site in self.changed}
        return z, torch.cat(self._free(x, z, latents), dim=1), kept

    def second(self, x: Tensor, z: Tensor, latents: dict[str, Tensor], *, whole: bool = False) -> Tensor:
        """Return the other features ``(batch, features - free)``: those of the interventions.

        Args:
            x: inputs.
            z: their logits.
            latents: see `first`.
            whole: all rows at once whatever the chunk: a graph has one path.
        """
        return torch.cat(self._intervened(z, self.plan.resume(x, Trace(z, latents), whole=whole)), dim=1)

    def _free(self, x: Tensor, z: Tensor, latents: dict[str, Tensor]) -> list[Tensor]:
        features = [self.statistics(z, latents), self.image_gradients(x)]
        if self.layer_consistency is not None:
            features.append(self.layer_consistency(latents))
        if self.shapley is not None:
            features.append(self.shapley(z, latents))
        return features if self.fakeness is None else [*features, self.fakeness(x)]

    def _intervened(self, z: Tensor, done: Outcomes) -> list[Tensor]:
        """Features of the interventions, from the logits ``(draws, batch, classes)`` after each."""
        features = []
        changes = self._changes(z, done)
        for position, module in enumerate(self.interventions):
            if module.reference:
                features.append(self._effects(z, done[position][:1])[0])
                change = self._effects(done[position][0], done[position][1:])
            else:
                change = changes[position]
            if module.draws == 1:
                features.append(change[0])
            else:
                features += [change.mean(0), change.amin(0), change.amax(0)]
        return features

    def _changes(self, z: Tensor, done: Outcomes) -> dict[int, Tensor]:
        """Effects ``(draws, batch, 6)`` of each intervention that is measured against the input's own logits.

        All at once: on small batches the number of operations is the cost.
        """
        plain = [position for position, module in enumerate(self.interventions) if not module.reference]
        if not plain:
            return {}
        sizes = [int(self.interventions[position].draws) for position in plain]  # type: ignore[arg-type]
        change = self._effects(z, torch.cat([done[position] for position in plain]))
        return dict(zip(plain, change.split(sizes), strict=True))

    def _effects(self, z: Tensor, z_do: Tensor) -> Tensor:
        return effects(z, z_do, multi_label=self.classifier.multi_label)
