"""The signature of an input: effects of interventions, and what one forward pass gives for free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import INPUT, Classifier, Do, Trace, site_shapes
from ce_detect.core.errors import CalibrationError
from ce_detect.features.activations import ActivationStatistics
from ce_detect.features.effects import EFFECTS, effects
from ce_detect.features.image_gradients import ImageGradients
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.interventions import Intervention, Resume


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
        roughness: what the picture itself gives.
        layer_consistency: how far early sites follow from the deepest one, or None.
        names: one name a feature.
        free: how many of the features, the first ones, one forward pass gives without any intervention.
        chunk: rows that are resumed at a time (whole draws, one at least), so that activations stay in cache; None for
            no limit.

    Raises:
        CalibrationError: an intervention or a statistic at a site that the classifier does not have, or whose tensor
            is neither a feature map ``(batch, channels, height, width)`` nor tokens ``(batch, tokens, channels)`` that
            the intervention takes.
    """

    def __init__(
        self,
        classifier: Classifier,
        interventions: list[Intervention],
        *,
        sites: tuple[str, ...] = (),
        layer_consistency: LayerConsistency | None = None,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        recovered = () if layer_consistency is None else layer_consistency.sites
        _check_sites(classifier, [*(i.site for i in interventions), *sites, *recovered])
        _check_latents(classifier, interventions)
        for intervention in interventions:
            intervention.attach(classifier)
        self.classifier = classifier
        self.interventions = nn.ModuleList(interventions)
        self.statistics = ActivationStatistics(classifier, sites)
        self.image_gradients = ImageGradients(classifier.input_shape[0], classifier.bounds)
        self.layer_consistency = layer_consistency
        self.names = (
            self.statistics.names
            + self.image_gradients.names
            + (() if layer_consistency is None else layer_consistency.names)
        )
        self.free = len(self.names)
        self.names += tuple(n for i in interventions for n in feature_names(i))
        self.chunk = chunk
        needed = {*self.statistics.needed_sites, *(i.site for i in interventions), *recovered}
        self._sites = tuple(site for site in classifier.sites if site in needed)
        self._one_pass = _of_equal_shape(classifier, interventions)

    def forward(self, x: Tensor, *, one_pass: bool | None = None) -> tuple[Tensor, Tensor]:
        """Return logits ``(batch, classes)`` and the signature ``(batch, features)``.

        Args:
            x: inputs ``(batch, channels, height, width)``.
            one_pass: whether what can ride along in the one forward pass does so, all rows at once whatever the chunk: a
                graph has one path. None: as the size of the batch suggests.
        """
        (z, latents), done = self._run(x, one_pass)
        return z, torch.cat(self._free(x, z, latents) + self._intervened(z, done), dim=1)

    def first(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return logits, the `free` features, and the latents at the sites that the interventions change."""
        z, latents = self.classifier.trace(x, self._sites)
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
        done = self._resumed(x, latents, range(len(self.interventions)), None if whole else self.chunk)
        return torch.cat(self._intervened(z, done), dim=1)

    @property
    def changed(self) -> tuple[str, ...]:
        """Sites beyond the input whose tensors the interventions take."""
        sites = {str(module.site) for module in self.interventions if not module.from_input}
        return tuple(site for site in self._sites if site in sites)

    def _free(self, x: Tensor, z: Tensor, latents: dict[str, Tensor]) -> list[Tensor]:
        features = [self.statistics(z, latents), self.image_gradients(x)]
        return features if self.layer_consistency is None else [*features, self.layer_consistency(latents)]

    def _intervened(self, z: Tensor, done: dict[int, Tensor]) -> list[Tensor]:
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

    def _changes(self, z: Tensor, done: dict[int, Tensor]) -> dict[int, Tensor]:
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

    def _run(self, x: Tensor, one_pass: bool | None) -> tuple[Trace, dict[int, Tensor]]:
        """Trace, and the logits ``(draws, batch, classes)`` after each intervention.

        What keeps the shape of its site rides along in the one forward pass, as long as all rows fit into a chunk:
        small batches are ruled by the number of operations, not by their size.
        """
        batch = x.shape[0]
        chunk = self.chunk if one_pass is None else None
        if one_pass is False or (one_pass is None and not self._fits(batch)):
            trace = self.classifier.trace(x, self._sites)
            return trace, self._resumed(x, trace.latents, range(len(self.interventions)), chunk)
        at: dict[str, list[int]] = {}
        for position in self._one_pass:
            at.setdefault(str(self.interventions[position].site), []).append(position)
        trace, logits = self.classifier.trace_and_resume(
            x, self._sites, {site: self._together(at[site]) for site in at}
        )
        others = [i for i in range(len(self.interventions)) if i not in self._one_pass]
        done = self._resumed(x, trace.latents, others, chunk)
        for site, positions in at.items():
            sizes = [int(self.interventions[position].draws) for position in positions]  # type: ignore[arg-type]
            done |= dict(zip(positions, logits[site].unflatten(0, (-1, batch)).split(sizes), strict=True))
        return trace, done

    def _fits(self, batch: int) -> bool:
        """Whether the inputs and all rows that could ride along are no more than a chunk."""
        draws = [int(self.interventions[position].draws) for position in self._one_pass]  # type: ignore[arg-type]
        return self.chunk is None or batch * (1 + sum(draws)) <= self.chunk

    def _together(self, positions: list[int]) -> Do:
        def rows(h: Tensor) -> Tensor:
            changed = [self.interventions[position](h) for position in positions]
            return changed[0] if len(changed) == 1 else torch.cat(changed)

        return rows

    def _resumed(
        self, x: Tensor, latents: dict[str, Tensor], positions: Iterable[int], chunk: int | None
    ) -> dict[int, Tensor]:
        """Logits ``(draws, batch, classes)`` after some interventions; equal sites and shapes share a resume."""
        groups: dict[tuple[Any, ...], list[tuple[int, Tensor]]] = {}
        for position in positions:
            module = self.interventions[position]
            site = str(module.site)
            h = x if module.from_input else latents.get(site, x)
            changed = module(h, self._asking(site, x)) if module.needs_resume else module(h)
            groups.setdefault((site, *changed.shape[1:]), []).append((position, changed))
        done: dict[int, Tensor] = {}
        for (site, *_), members in groups.items():
            stacked = torch.cat([changed for _, changed in members]) if len(members) > 1 else members[0][1]
            z_do = self._resume(site, stacked, x, chunk)
            sizes = [changed.shape[0] for _, changed in members]
            for (position, _), part in zip(members, z_do.split(sizes), strict=True):
                done[position] = part.unflatten(0, (-1, x.shape[0]))
        return done

    def _asking(self, site: str, x: Tensor) -> Resume:
        """The classifier from a site on, for interventions that take its gradient: no tensor of inference mode."""

        def resume(latent: Tensor) -> Tensor:
            z: Tensor = self.classifier.resume(site, latent, x.clone() if x.is_inference() else x)
            return z

        return resume

    def _resume(self, site: str, latent: Tensor, x: Tensor, chunk: int | None) -> Tensor:
        if chunk is None or latent.shape[0] <= chunk:
            z: Tensor = self.classifier.resume(site, latent, x)
            return z
        step = max(1, chunk // x.shape[0]) * x.shape[0]  # whole draws, as a hooked classifier needs
        return torch.cat([self.classifier.resume(site, part, x) for part in latent.split(step)])


def _check_latents(classifier: Classifier, interventions: list[Intervention]) -> None:
    at_latents = [i for i in interventions if i.site != INPUT and not i.from_input]
    shapes = site_shapes(classifier) if at_latents else {}
    for intervention in at_latents:
        taken = {3: intervention.latents, 2: intervention.tokens}
        if not taken.get(len(shapes[intervention.site]), False):
            listed = ["a feature map (channels, height, width)"] * intervention.latents
            listed += ["tokens (tokens, channels)"] * intervention.tokens
            raise CalibrationError(
                f"{intervention.name} needs {' or '.join(listed) or 'the input'}, but the latent at "
                f"{intervention.site!r} has shape {shapes[intervention.site]}"
            )


def _of_equal_shape(classifier: Classifier, interventions: list[Intervention]) -> tuple[int, ...]:
    """Positions of the interventions that give tensors of the shape they take, from it alone."""
    plain = [
        p for p, intervention in enumerate(interventions) if not (intervention.needs_resume or intervention.from_input)
    ]
    if not plain:
        return ()
    probe = classifier.probe()
    with torch.no_grad():
        latents = {INPUT: probe, **classifier.trace(probe).latents}
        shapes = {
            position: (intervention.to(probe.device)(latents[intervention.site]).shape[1:], intervention.site)
            for position, intervention in enumerate(interventions)
            if position in plain
        }
    return tuple(position for position, (shape, site) in shapes.items() if shape == latents[site].shape[1:])


def _check_sites(classifier: Classifier, wanted: list[str]) -> None:
    there = (INPUT, *classifier.sites)
    missing = [site for site in wanted if site not in there]
    if missing:
        raise CalibrationError(f"no site {missing[0]!r} in this classifier; there are: {', '.join(there)}")
