"""PyTorch models cut into segments: resuming from a site skips everything before it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ce_detect.classifiers import cutting
from ce_detect.classifiers.adapted import bare
from ce_detect.classifiers.base import INPUT, PENULTIMATE, Do, Trace
from ce_detect.classifiers.interface import Interface, ModuleClassifier, agree, run
from ce_detect.classifiers.layout import Turned, channels_last
from ce_detect.classifiers.sites import chosen, from_cuts


class TorchClassifier(ModuleClassifier):
    """A classifier cut into segments, see `ce_detect.classifiers.base.Classifier`.

    Attributes:
        head_weight: ``(classes, features)`` of a linear last layer that reads the site ``"penultimate"``, or None.
    """

    portable = True
    captured = True

    def __init__(
        self,
        model: nn.Module,
        interface: Interface,
        graph: torch.fx.GraphModule,
        *,
        sites: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(model, interface)
        head = cutting.linear_head(graph)
        places, cuts = from_cuts(cutting.cuts(graph), bare(model), None if head is None else head[0])
        self.sites = chosen(places, sites, self.input_shape)
        pieces = cutting.segments(graph, [cuts[name] for name in self.sites])
        turned = [False, *(channels_last(places[name].shape, self.input_shape) for name in self.sites), False]
        self.segments = nn.ModuleList(
            Turned(piece, takes=takes, returns=returns) if takes or returns else piece
            for piece, takes, returns in zip(pieces, turned, turned[1:], strict=False)
        )
        reads_site = head is not None and PENULTIMATE in self.sites
        self.head_weight = interface.head_weight(head[1]) if head is not None and reads_site else None
        self.elastic = self._runs_at_another_size(model)

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        return self.resume(INPUT, x, x)

    forward = logits

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Return logits and the latents at ``sites`` (all by default) from one forward pass."""
        wanted = self.sites if sites is None else sites
        latents: dict[str, Tensor] = {}
        x = x.to(self.dtype)
        for site, segment in zip(self.sites, self.segments, strict=False):
            x = segment(x)
            if site in wanted:
                latents[site] = x.float()
        return Trace(self.interface.logits(self.segments[-1](x)), latents)

    def trace_and_resume(
        self, x: Tensor, sites: tuple[str, ...], do: Mapping[str, Do]
    ) -> tuple[Trace, dict[str, Tensor]]:
        """Trace, and resume in the same batch; see `ce_detect.classifiers.base.Classifier.trace_and_resume`."""
        batch, latents, sizes = x.shape[0], {}, {}
        made = do[INPUT](x).to(self.dtype) if INPUT in do else None
        rows = x.to(self.dtype)
        for site, segment in zip((INPUT, *self.sites), self.segments, strict=True):
            if site != INPUT:
                h = rows[:batch].float()
                if site in sites:
                    latents[site] = h
                made = do[site](h).to(self.dtype) if site in do else None
            if made is not None:
                sizes[site] = made.shape[0]
                rows = torch.cat([rows, made])
            rows = segment(rows)
        z, *others = self.interface.logits(rows).split([batch, *sizes.values()])
        return Trace(z, latents), dict(zip(sizes, others, strict=True))

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Return the logits ``(draws * batch, classes)`` that follow from ``latent``; ``x`` is not looked at."""
        start = 0 if site == INPUT else self.sites.index(site) + 1
        latent = latent.to(self.dtype)
        for segment in self.segments[start:]:
            latent = segment(latent)
        return self.interface.logits(latent)

    def copied(self, site: str) -> nn.Module | None:
        """Copy what leads from inputs to a site; see `ce_detect.classifiers.base.Classifier.copied`."""
        if site == INPUT:
            return None
        parts = copy.deepcopy(list(self.segments[: self.sites.index(site) + 1]))
        return nn.Sequential(*parts).requires_grad_(False)

    def _runs_at_another_size(self, model: nn.Module) -> bool:
        """Whether smaller inputs give logits, and those of the model where the model takes them.

        A graph may have the size of the example in it, and so may the model itself: one that pools over the whole map
        by a number refuses another size, while its segments do not.
        """
        probe = self.interface.probe(2, scale=0.75).to(self.device)
        try:
            with torch.no_grad():
                z = self.logits(probe)
        except Exception:  # noqa: BLE001  operations refuse a size with errors of many types
            return False
        try:
            with torch.no_grad():
                expected = self.interface.logits(run(model, probe))
        except Exception:  # noqa: BLE001  models refuse a size with errors of many types
            return z.shape == (2, self.num_classes) and bool(torch.isfinite(z).all())
        return agree(expected.to(self.dtype), z.to(self.dtype))
