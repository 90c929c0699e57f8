"""PyTorch models that cannot be cut: a hook overrides a module's output and the whole model runs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.classifiers import sites as _sites
from ce_detect.classifiers.base import INPUT, Trace
from ce_detect.classifiers.checks import is_script
from ce_detect.classifiers.interface import Interface, ModuleClassifier, eagerly, run
from ce_detect.classifiers.layout import channels_last, to_first, to_last

Hook = Callable[[nn.Module, Any, Any], Any]


class HookClassifier(ModuleClassifier):
    """A classifier that cannot be cut, see `ce_detect.classifiers.base.Classifier`; a resume costs a whole forward."""

    head_weight: Tensor | None = None

    def __init__(self, model: nn.Module, interface: Interface, *, sites: tuple[str, ...] | None = None) -> None:
        super().__init__(model, interface)
        self.model = model
        self.elastic = False
        places, self._paths = _sites.from_modules({} if is_script(model) else self._shapes(), model)
        self.sites = _sites.chosen(places, sites, self.input_shape)
        self._turned = {site for site in self.sites if channels_last(places[site].shape, self.input_shape)}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs of the modules that are called exactly once, in the order of computation."""
        seen: dict[str, list[tuple[int, ...]]] = {}

        def recorder(path: str) -> Hook:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                is_latent = isinstance(output, Tensor) and output.ndim in (3, 4) and output.shape[0] == 2
                seen.setdefault(path, []).append(tuple(output.shape[1:]) if is_latent else ())

            return hook

        with self._hooked({path: recorder(path) for path, _ in self.model.named_modules() if path}), torch.no_grad():
            run(self.model, self.interface.probe(2))
        return {path: calls[0] for path, calls in seen.items() if len(calls) == 1 and calls[0]}

    @contextmanager
    def _hooked(self, hooks: dict[str, Hook]) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(eagerly(self.model))
            for path, hook in hooks.items():
                stack.callback(self.model.get_submodule(path).register_forward_hook(hook).remove)
            yield

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        return self.interface.logits(self.model(x.to(self.dtype, copy=True)))  # some models write into their input

    forward = logits

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Return logits and the latents at ``sites`` (all by default) from one forward pass."""
        latents: dict[str, Tensor] = {}

        def recorder(site: str) -> Hook:
            def hook(_: nn.Module, __: Any, output: Tensor) -> None:
                h = output.to(torch.float32, copy=True)  # what follows may work in place
                latents[site] = to_first(h) if site in self._turned else h

            return hook

        wanted = self.sites if sites is None else sites
        with self._hooked({self._paths[site]: recorder(site) for site in wanted}):
            z = self.logits(x)
        return Trace(z, latents)

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Return the logits ``(draws * batch, classes)`` that follow from ``latent``, for a whole forward."""
        if site == INPUT:
            return self.logits(latent)
        repeated = x.repeat(latent.shape[0] // x.shape[0], 1, 1, 1)
        latent = to_last(latent) if site in self._turned else latent
        with self._hooked({self._paths[site]: lambda *_: latent.to(self.dtype, copy=True)}):
            return self.logits(repeated)
