"""PyTorch classifiers: cut where possible, hooked where not."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.classifiers import _graph
from ce_detect.classifiers.base import INPUT, Classifier, Trace
from ce_detect.errors import ModelError

logger = logging.getLogger("ce_detect")

PENULTIMATE = "penultimate"
"""Name of the site that feeds a linear last layer."""


def wrap(
    model: nn.Module,
    *,
    input_shape: tuple[int, int, int],
    bounds: tuple[float, float],
    sites: tuple[str, ...] | None = None,
) -> TorchClassifier | HookClassifier:
    """Wrap a PyTorch model as a classifier.

    The model is cut into segments so that resuming from a site skips everything before it. A model that
    ``torch.export`` cannot capture is hooked instead: correct, but every resume costs a whole forward.

    Args:
        model: maps ``(batch, channels, height, width)`` to logits ``(batch, classes)``, in eval mode. One logit
            ``(batch, 1)`` or ``(batch,)`` is read as the log-odds of class 1 against class 0. ``torch.compile``d and
            ``DataParallel`` modules are unwrapped.
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value.
        sites: names of the sites to keep; by default the ends and middles of the stages of one resolution.

    Raises:
        ModelError: not a module, in training mode, does not return logits, or has no such site.
    """
    model = _as_logits(unwrapped(model), input_shape, bounds)
    example = _probe(model, input_shape, bounds, count=2)
    try:
        with torch.no_grad():
            graph = _graph.capture(model, example)
            expected, got = model(example.clone()), graph(example.clone())  # some models write into their input
    except Exception as error:  # noqa: BLE001  torch.export raises many types; the fallback below is correct for all
        logger.warning(
            "cannot cut %s into segments (%s); every resume costs a whole forward", _name(model), _line(error)
        )
        return HookClassifier(model, input_shape=input_shape, bounds=bounds, sites=sites)
    if not _agree(expected, got):
        logger.warning("the traced graph of %s disagrees with it; every resume costs a whole forward", _name(model))
        return HookClassifier(model, input_shape=input_shape, bounds=bounds, sites=sites)
    if _graph.ends_in_probabilities(graph):
        raise ModelError(_PROBABILITIES)
    return TorchClassifier(model, graph, input_shape=input_shape, bounds=bounds, sites=sites)


class _TorchBase(nn.Module):
    """What both kinds of PyTorch classifier share."""

    num_classes: int
    input_shape: tuple[int, ...]
    bounds: tuple[float, float]
    sites: tuple[str, ...]
    elastic: bool
    head_weight: Tensor | None

    def __init__(self, model: nn.Module, input_shape: tuple[int, int, int], bounds: tuple[float, float]) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.bounds = bounds
        with torch.no_grad():
            self.num_classes = int(model(_probe(model, input_shape, bounds, count=2)).shape[1])
        self._fingerprint = fingerprint(model)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        tensor = next(self.parameters(), next(self.buffers(), None))
        return tensor.device if tensor is not None else torch.device("cpu")

    def fingerprint(self) -> str:
        """`fingerprint` of the model at the time of wrapping."""
        return self._fingerprint

    def probe(self) -> Tensor:
        """A fixed input ``(1, channels, height, width)`` for telling whether two models compute the same."""
        return _probe(self, self.input_shape, self.bounds, count=1)


class TorchClassifier(_TorchBase):
    """A classifier cut into segments, see `ce_detect.classifiers.base.Classifier`.

    Attributes:
        head_weight: ``(classes, features)`` of a linear last layer that reads the site ``"penultimate"``, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: torch.fx.GraphModule,
        *,
        input_shape: tuple[int, int, int],
        bounds: tuple[float, float],
        sites: tuple[str, ...] | None,
    ) -> None:
        super().__init__(model, input_shape, bounds)
        found = _graph.cuts(graph)
        head = _graph.linear_head(graph)
        names = {cut.name: cut for cut in found}
        if head is not None:
            names = {(PENULTIMATE if name == head[0] else name): cut for name, cut in names.items()}
        chosen = _stage_ends(names) if sites is None else _named(sites, tuple(names))
        self.sites = tuple(name for name in names if name in chosen)
        self.segments = nn.ModuleList(_graph.segments(graph, [names[name] for name in self.sites]))
        self.head_weight = head[1] if head is not None and PENULTIMATE in self.sites else None
        self.elastic = self._agrees_at_another_size(model)

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        for segment in self.segments:
            x = segment(x)
        return x

    forward = logits

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Return logits and the latents at ``sites`` (all by default) from one forward pass."""
        wanted = self.sites if sites is None else sites
        latents: dict[str, Tensor] = {}
        for site, segment in zip(self.sites, self.segments, strict=False):
            x = segment(x)
            if site in wanted:
                latents[site] = x
        return Trace(self.segments[-1](x), latents)

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Return the logits ``(draws * batch, classes)`` that follow from ``latent``; ``x`` is not looked at."""
        start = 0 if site == INPUT else self.sites.index(site) + 1
        for segment in self.segments[start:]:
            latent = segment(latent)
        return latent

    def _agrees_at_another_size(self, model: nn.Module) -> bool:
        """Whether smaller inputs give what the model gives for them: a graph may have the traced size in it."""
        channels, height, width = self.input_shape
        probe = _probe(model, (channels, height * 3 // 4, width * 3 // 4), self.bounds, count=2)
        try:
            with torch.no_grad():
                return _agree(model(probe.clone()), self.logits(probe))
        except Exception:  # noqa: BLE001  models refuse a size with errors of many types
            return False


class HookClassifier(_TorchBase):
    """A classifier that cannot be cut: a hook overrides a module's output and the whole model runs again."""

    head_weight: Tensor | None = None

    def __init__(
        self,
        model: nn.Module,
        *,
        input_shape: tuple[int, int, int],
        bounds: tuple[float, float],
        sites: tuple[str, ...] | None,
    ) -> None:
        super().__init__(model, input_shape, bounds)
        self.model = model
        self.elastic = False
        shapes = self._shapes()
        chosen = _ends_of_runs(shapes) if sites is None else _named(sites, tuple(shapes))
        self.sites = tuple(name for name in shapes if name in chosen)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs of the modules that are called exactly once, in the order of computation."""
        seen: dict[str, list[tuple[int, ...]]] = {}

        def recorder(name: str) -> Any:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                is_latent = isinstance(output, Tensor) and output.ndim in (3, 4) and output.shape[0] == 2
                seen.setdefault(name, []).append(tuple(output.shape[1:]) if is_latent else ())

            return hook

        hooks = [m.register_forward_hook(recorder(name)) for name, m in self.model.named_modules() if name]
        try:
            with torch.no_grad():
                self.model(_probe(self.model, self.input_shape, self.bounds, count=2))
        finally:
            for hook in hooks:
                hook.remove()
        return {name: calls[0] for name, calls in seen.items() if len(calls) == 1 and calls[0]}

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        z: Tensor = self.model(x.clone())  # some models write into their input
        return z

    forward = logits

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Return logits and the latents at ``sites`` (all by default) from one forward pass."""
        latents: dict[str, Tensor] = {}

        def recorder(name: str) -> Any:
            def hook(_: nn.Module, __: Any, output: Tensor) -> None:
                latents[name] = output.clone()  # what follows may work in place

            return hook

        wanted = self.sites if sites is None else sites
        hooks = [self.model.get_submodule(site).register_forward_hook(recorder(site)) for site in wanted]
        try:
            z = self.logits(x)
        finally:
            for hook in hooks:
                hook.remove()
        return Trace(z, latents)

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Return the logits ``(draws * batch, classes)`` that follow from ``latent``, for a whole forward."""
        if site == INPUT:
            return self.logits(latent)
        repeated = x.repeat(latent.shape[0] // x.shape[0], 1, 1, 1)
        hook = self.model.get_submodule(site).register_forward_hook(lambda *_: latent.clone())
        try:
            return self.logits(repeated)
        finally:
            hook.remove()


class _TwoLogits(nn.Module):
    """One logit as two: half the log-odds for class 1, minus half for class 0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        half = self.model(x).reshape(x.shape[0], 1) / 2
        return torch.cat([-half, half], dim=1)


_PROBABILITIES = (
    "the model returns probabilities, but effects are measured on logits: after a softmax, saturation hides them. "
    "Remove the final softmax or sigmoid, or wrap the part of the model before it"
)


def unwrapped(model: nn.Module) -> nn.Module:
    """Take a module out of ``torch.compile`` or ``DataParallel`` and check that it is in eval mode.

    Raises:
        ModelError: not a module, or in training mode.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected a torch.nn.Module, got {type(model).__name__}")
    while isinstance(model, nn.DataParallel) or hasattr(model, "_orig_mod"):  # the latter by torch.compile
        inner: Any = model
        model = inner.module if isinstance(model, nn.DataParallel) else inner._orig_mod
    training = [name or "the model itself" for name, m in model.named_modules() if m.training]
    if training:
        raise ModelError(
            f"{_name(model)} is in training mode ({training[0]}): dropout and batch statistics would change its "
            "answers. Call model.eval() before wrapping it"
        )
    return model


def _as_logits(model: nn.Module, input_shape: tuple[int, int, int], bounds: tuple[float, float]) -> nn.Module:
    """Return a module that gives ``(batch, classes >= 2)`` logits, or say why the model does not."""
    count = 4
    probe = _probe(model, input_shape, bounds, count)
    try:
        with torch.no_grad():
            z = model(probe)
    except Exception as error:  # models refuse a shape with errors of many types
        shape = ("batch", *input_shape)
        raise ModelError(
            f"{_name(model)} fails on an input of shape {shape}: {_line(error)}. "
            "Give the shape the model was built for: DetectedModel(model, input_shape=(channels, height, width))"
        ) from error
    if not isinstance(z, Tensor):
        raise ModelError(
            f"{_name(model)} returns {type(z).__name__}, expected one tensor of logits (batch, classes). "
            "Wrap it in a module whose forward returns the logits only"
        )
    if z.shape in {(count,), (count, 1)}:
        return _TwoLogits(model).eval()
    if z.ndim != 2 or z.shape[0] != count:
        returned = tuple(z.shape)
        raise ModelError(f"{_name(model)} returns shape {returned} for {count} inputs, expected ({count}, classes)")
    if not z.is_floating_point() or not bool(torch.isfinite(z).all()):
        raise ModelError(f"{_name(model)} returns {z.dtype} values that are not finite logits")
    if bool((z >= 0).all()) and torch.allclose(z.sum(1), torch.ones_like(z.sum(1)), atol=1e-4):
        raise ModelError(_PROBABILITIES)
    return model


def _probe(model: nn.Module, input_shape: tuple[int, ...], bounds: tuple[float, float], count: int) -> Tensor:
    """Smooth waves within the bounds: the same pixels on every machine and in every version."""
    channels, height, width = input_shape
    low, high = bounds
    n, c = torch.arange(count).view(-1, 1, 1, 1), torch.arange(channels).view(-1, 1, 1)
    rows, columns = torch.arange(height).view(-1, 1) / height, torch.arange(width) / width
    wave = torch.sin(6.28 * ((n + 1) * rows + (c + 2) * columns)) * torch.cos(12.56 * rows * columns + n)
    tensor = next(model.parameters(), next(model.buffers(), torch.empty(0)))
    return (low + (high - low) * (wave + 1) / 2).to(tensor.device, torch.float32)


def _agree(expected: Tensor, got: Tensor) -> bool:
    """Whether logits are equal but for rounding."""
    slack = 1e-3 * float(expected.abs().max())
    return expected.shape == got.shape and torch.allclose(expected, got, rtol=1e-3, atol=slack)


def _stage_ends(found: dict[str, _graph.Cut]) -> set[str]:
    """Ends and middles of the runs of sites of one resolution, and the input of a linear last layer."""
    spatial = {name: cut.shape for name, cut in found.items() if len(cut.shape) > 1}
    return _ends_of_runs(spatial) | ({PENULTIMATE} & set(found))


def _ends_of_runs(shapes: dict[str, tuple[int, ...]]) -> set[str]:
    runs: list[list[str]] = []
    last: tuple[int, ...] | None = None
    for name, shape in shapes.items():
        resolution = shape[1:] if len(shape) == 3 else shape
        if resolution != last:
            runs.append([])
            last = resolution
        runs[-1].append(name)
    fractions = (0.5, 1.0) if len(runs) > 1 else (0.25, 0.5, 0.75, 1.0)
    return {run[max(0, round(len(run) * f) - 1)] for run in runs for f in fractions}


def _named(sites: tuple[str, ...], available: tuple[str, ...]) -> set[str]:
    missing = [site for site in sites if site not in available]
    if missing:
        listed = ", ".join(available) or "no place"
        raise ModelError(f"no site {missing[0]!r} in this model; it can be cut at: {listed}")
    return set(sites)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names, shapes, types and bytes of a model's parameters and buffers, saved with it or not."""
    model = model.model if isinstance(model, _TwoLogits) else model
    digest = hashlib.sha256()
    for name, tensor in sorted({**dict(model.named_buffers()), **model.state_dict()}.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _name(model: nn.Module) -> str:
    return type(model).__name__


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


__all__ = ["PENULTIMATE", "Classifier", "HookClassifier", "TorchClassifier", "fingerprint", "unwrapped", "wrap"]
