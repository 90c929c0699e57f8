"""PyTorch classifiers: cut where possible, hooked where not."""

from __future__ import annotations

import logging
import weakref
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.classifiers import capture
from ce_detect.classifiers.base import PENULTIMATE, Classifier
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.interface import (
    BlackBoxModule,
    Interface,
    agree,
    device_of,
    dtype_of,
    fingerprint,
    run,
)
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import ModelError

logger = logging.getLogger("ce_detect")

_PROBABILITIES = (
    "the model returns probabilities, but effects are measured on logits: after a softmax, saturation hides them. "
    "Remove the final softmax or sigmoid, or wrap the part of the model before it"
)

_announced: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def wrap(
    model: nn.Module,
    *,
    input_shape: tuple[int, int, int],
    bounds: tuple[float, float],
    sites: tuple[str, ...] | None = None,
    multi_label: bool = False,
    label: int | None = None,
) -> Classifier:
    """Wrap a PyTorch model as a classifier.

    The model is cut into segments so that resuming from a site skips everything before it. A model that
    ``torch.export`` cannot capture is hooked instead: correct, but every resume costs a whole forward. A black box is
    wrapped as it knows best.

    Args:
        model: maps ``(batch, channels, height, width)`` to logits ``(batch, classes)``, in eval mode, in any floating
            type. One logit ``(batch, 1)`` or ``(batch,)`` is read as the log-odds of class 1 against class 0.
            ``torch.compile``d and ``DataParallel`` modules are unwrapped.
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value.
        sites: names of the sites to keep; by default the ends and middles of the stages of one resolution, or blocks
            at the quarters of a transformer.
        multi_label: whether several labels may hold at once, so that each logit is the log-odds of a label of its own.
            The decision is the top label.
        label: watch this label of a multi-label model alone: a decision between two classes, 1 where its logit is
            above 0.

    Raises:
        ModelError: not a module, in training mode, does not return logits, or has no such site or label.
    """
    model = unwrapped(model)
    interface = _interface(model, Interface(input_shape, bounds, multi_label, label))
    if isinstance(model, BlackBoxModule):
        return model.wrapped(interface, sites)
    example = interface.probe(2).to(device_of(model), dtype_of(model))
    try:
        with torch.no_grad():
            graph = capture.capture(model, example)
            agreed = agree(run(model, example), graph(example.clone()))
    except Exception as error:  # noqa: BLE001  torch.export raises many types; the fallback below is correct for all
        _announce(model, f"cannot cut {_name(model)} into segments ({_line(error)})")
        return HookClassifier(model, interface, sites=sites)
    if not agreed:
        _announce(model, f"the traced graph of {_name(model)} disagrees with it")
        return HookClassifier(model, interface, sites=sites)
    return TorchClassifier(model, interface, graph, sites=sites)


def _announce(model: nn.Module, problem: str) -> None:
    """Say once for each model that it is slow."""
    if model not in _announced:
        _announced.add(model)
        logger.warning("%s; every resume costs a whole forward", problem)


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


class _AtAnyType(nn.Module):
    """A model behind a cast of its input to the type of its weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype_of(model)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x.to(self.dtype))
        return output


def at_float32(model: nn.Module) -> nn.Module:
    """The model as its user runs it, but for float32 pixels: what a gate's cost is measured against."""
    return model if dtype_of(model) is torch.float32 else _AtAnyType(model).eval()


def _interface(model: nn.Module, asked: Interface) -> Interface:
    """Find out how the output is to be read, or say why it cannot be.

    Raises:
        ModelError: the model does not return logits, or has no such label.
    """
    output = _checked_output(model, asked)
    labels = output.shape[1] if output.ndim == 2 else 1
    if asked.label is not None and not asked.multi_label:
        raise ModelError(
            f"label = {asked.label} is for a multi-label model, each of whose logits is a decision of its own; "
            "add multi_label=True"
        )
    if asked.label is not None and not 0 <= asked.label < labels:
        raise ModelError(f"label = {asked.label}, but {_name(model)} has {labels} labels, 0 to {labels - 1}")
    return replace(asked, column=0 if labels == 1 else asked.label)


def _checked_output(model: nn.Module, asked: Interface) -> Tensor:
    count = 4
    try:
        with torch.enable_grad():  # so that the output tells where it comes from
            z: Any = run(model, asked.probe(count).requires_grad_(True))
    except Exception as error:  # models refuse a shape with errors of many types
        shape = ("batch", *asked.input_shape)
        raise ModelError(
            f"{_name(model)} fails on an input of shape {shape}: {_line(error)}. "
            "Give the shape the model was built for: DetectedModel(model, input_shape=(channels, height, width))"
        ) from error
    if not isinstance(z, Tensor):
        raise ModelError(
            f"{_name(model)} returns {type(z).__name__}, expected one tensor of logits (batch, classes). "
            "Wrap it in a module whose forward returns the logits only"
        )
    if z.shape != (count,) and (z.ndim != 2 or z.shape[0] != count):
        returned = tuple(z.shape)
        raise ModelError(f"{_name(model)} returns shape {returned} for {count} inputs, expected ({count}, classes)")
    if not z.is_floating_point() or not bool(torch.isfinite(z).all()):
        raise ModelError(f"{_name(model)} returns {z.dtype} values that are not finite logits")
    if _are_probabilities(z):
        raise ModelError(_PROBABILITIES)
    return z.detach()


def _are_probabilities(z: Tensor) -> bool:
    """Whether the output comes from a softmax or a sigmoid, or looks as if it did."""
    step = z.grad_fn
    while step is not None and step.name().startswith(_REARRANGED):
        step = step.next_functions[0][0]
    if step is not None and step.name().startswith(("SoftmaxBackward", "SigmoidBackward")):
        return True
    if z.ndim == 1 or z.shape[1] == 1:
        return False
    sums = z.float().sum(1)
    return bool((z >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)


_REARRANGED = ("Reshape", "Select", "Slice", "Squeeze", "ToCopy", "Unsqueeze", "View")
"""Beginnings of the names of steps of autograd that keep every value."""


def _name(model: nn.Module) -> str:
    return type(model).__name__


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


__all__ = [
    "PENULTIMATE",
    "Classifier",
    "HookClassifier",
    "TorchClassifier",
    "at_float32",
    "fingerprint",
    "unwrapped",
    "wrap",
]
