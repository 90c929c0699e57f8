"""How a signature is run: what goes with the one forward pass, what is resumed from where, how many rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ce_detect.classifiers.base import INPUT, Classifier, Do, Trace, site_shapes
from ce_detect.core.errors import CalibrationError
from ce_detect.interventions import Intervention, Resume

Outcomes = dict[int, Tensor]
"""Logits ``(draws, batch, classes)`` after each intervention, by its position."""


class ExecutionPlan:
    """Runs a classifier once, and again from each site where something is done.

    Interventions whose tensors have equal sites and shapes share a resume. Those that keep the shape of the tensor that
    they take may instead go with the one forward pass, as further rows of its batch.

    Attributes:
        sites: where the one forward pass keeps latents, in the order of computation.
        chunk: see `ce_detect.features.signature.Signature`.
        joining: positions of the interventions that may go with the one forward pass.
    """

    def __init__(
        self, classifier: Classifier, interventions: Sequence[Intervention], *, sites: Iterable[str], chunk: int | None
    ) -> None:
        """Plan what is done.

        Args:
            classifier: what is run.
            interventions: what is done, each attached to the classifier.
            sites: further sites whose latents are wanted.
            chunk: see `ce_detect.features.signature.Signature`.
        """
        self._classifier = classifier
        self._interventions = tuple(interventions)
        needed = {*sites, *(intervention.site for intervention in interventions)}
        self.sites = tuple(site for site in classifier.sites if site in needed)
        self.chunk = chunk
        self.joining = _shape_keeping(classifier, self._interventions)

    @property
    def changed(self) -> tuple[str, ...]:
        """Sites beyond the input whose tensors the interventions take."""
        taken = {intervention.site for intervention in self._interventions if not intervention.from_input}
        return tuple(site for site in self.sites if site in taken)

    def trace(self, x: Tensor) -> Trace:
        """Return the logits of inputs and the latents at `sites`, from one forward pass."""
        return self._classifier.trace(x, self.sites)

    def run(self, x: Tensor, *, one_pass: bool | None = None) -> tuple[Trace, Outcomes]:
        """Trace inputs, and do all interventions.

        Args:
            x: inputs ``(batch, channels, height, width)``.
            one_pass: whether what may go with the one forward pass does, with all rows at once whatever the chunk.
                None: where all rows fit into a chunk. The number of operations rules small batches, not their size.
        """
        every = range(len(self._interventions))
        chunk = self.chunk if one_pass is None else None
        if one_pass is False or (one_pass is None and not self._fits(x.shape[0])):
            trace = self.trace(x)
            return trace, self._resumed(x, trace, every, chunk)
        trace, joined = self._in_one_pass(x)
        others = [position for position in every if position not in self.joining]
        return trace, self._resumed(x, trace, others, chunk) | joined

    def resume(self, x: Tensor, trace: Trace, *, whole: bool = False) -> Outcomes:
        """Do all interventions on what was traced before.

        Args:
            x: inputs ``(batch, channels, height, width)``.
            trace: their logits, and the latents at the sites that are `changed`.
            whole: all rows at once whatever the chunk.
        """
        return self._resumed(x, trace, range(len(self._interventions)), None if whole else self.chunk)

    def _fits(self, batch: int) -> bool:
        """Whether the inputs and all rows that may go with them are no more than a chunk."""
        draws = sum(self._interventions[position].draws for position in self.joining)
        return self.chunk is None or batch * (1 + draws) <= self.chunk

    def _in_one_pass(self, x: Tensor) -> tuple[Trace, Outcomes]:
        """Trace, with the rows of all interventions that may go with the forward pass."""
        at: dict[str, list[int]] = {}
        for position in self.joining:
            at.setdefault(self._interventions[position].site, []).append(position)
        do = {site: _rows([self._interventions[position] for position in positions]) for site, positions in at.items()}
        trace, logits = self._classifier.trace_and_resume(x, self.sites, do)
        done: Outcomes = {}
        for site, positions in at.items():
            sizes = [self._interventions[position].draws for position in positions]
            done |= dict(zip(positions, logits[site].unflatten(0, (-1, x.shape[0])).split(sizes), strict=True))
        return trace, done

    def _resumed(self, x: Tensor, trace: Trace, positions: Iterable[int], chunk: int | None) -> Outcomes:
        """Outcomes of some interventions; equal sites and shapes share a resume."""
        groups: dict[tuple[Any, ...], list[tuple[int, Tensor]]] = {}
        for position in positions:
            intervention = self._interventions[position]
            changed = self._changed(intervention, x, trace)
            groups.setdefault((intervention.site, *changed.shape[1:]), []).append((position, changed))
        done: Outcomes = {}
        for (site, *_), members in groups.items():
            rows = torch.cat([changed for _, changed in members]) if len(members) > 1 else members[0][1]
            z_do = self._resume(site, rows, x, chunk)
            sizes = [changed.shape[0] for _, changed in members]
            for (position, _), part in zip(members, z_do.split(sizes), strict=True):
                done[position] = part.unflatten(0, (-1, x.shape[0]))
        return done

    def _changed(self, intervention: Intervention, x: Tensor, trace: Trace) -> Tensor:
        """What an intervention makes of the tensor it takes."""
        h = x if intervention.from_input else trace.latents.get(intervention.site, x)
        given = (h, self._asking(intervention.site, x, h, trace.logits)) if intervention.needs_resume else (h,)
        changed: Tensor = intervention(*given)
        return changed

    def _asking(self, site: str, x: Tensor, h: Tensor, z: Tensor) -> Resume:
        """The classifier from a site on, for interventions that ask it; what follows from ``h`` itself is known.

        They may take its gradient: no tensor of inference mode.
        """

        def asked(latent: Tensor) -> Tensor:
            return z if latent is h else self._classifier.resume(site, latent, x.clone() if x.is_inference() else x)

        return asked

    def _resume(self, site: str, rows: Tensor, x: Tensor, chunk: int | None) -> Tensor:
        if chunk is None or rows.shape[0] <= chunk:
            return self._classifier.resume(site, rows, x)
        step = max(1, chunk // x.shape[0]) * x.shape[0]  # whole draws, as a hooked classifier needs
        return torch.cat([self._classifier.resume(site, part, x) for part in rows.split(step)])


def check(classifier: Classifier, interventions: Sequence[Intervention], sites: Iterable[str]) -> None:
    """Refuse what cannot be run.

    Args:
        classifier: what would be run.
        interventions: what would be done.
        sites: further sites whose latents are wanted.

    Raises:
        CalibrationError: a site that the classifier does not have, or whose tensor an intervention does not take.
    """
    there = (INPUT, *classifier.sites)
    missing = [site for site in (*(i.site for i in interventions), *sites) if site not in there]
    if missing:
        raise CalibrationError(f"no site {missing[0]!r} in this classifier; there are: {', '.join(there)}")
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


def _rows(interventions: list[Intervention]) -> Do:
    """What several interventions make of one tensor, one below the other."""

    def made(h: Tensor) -> Tensor:
        changed = [intervention(h) for intervention in interventions]
        return changed[0] if len(changed) == 1 else torch.cat(changed)

    return made


def _shape_keeping(classifier: Classifier, interventions: Sequence[Intervention]) -> tuple[int, ...]:
    """Positions of the interventions that give tensors of the shape they take, from it alone."""
    plain = [
        (position, intervention)
        for position, intervention in enumerate(interventions)
        if not (intervention.needs_resume or intervention.from_input)
    ]
    if not plain:
        return ()
    probe = classifier.probe()
    with torch.no_grad():
        latents = {INPUT: probe, **classifier.trace(probe).latents}
        made = {position: one.to(probe.device)(latents[one.site]).shape[1:] for position, one in plain}
    return tuple(position for position, one in plain if made[position] == latents[one.site].shape[1:])
