"""How the output of a model is read as logits, or why it cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.classifiers.interface import Interface, run
from ce_detect.core.errors import ModelError

_PROBABILITIES = (
    "the model returns probabilities, but effects are measured on logits: after a softmax, saturation hides them. "
    "Remove the final softmax or sigmoid, or wrap the part of the model before it"
)


def reading(model: nn.Module, asked: Interface) -> Interface:
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
        raise ModelError(f"label = {asked.label}, but {type(model).__name__} has {labels} labels, 0 to {labels - 1}")
    return replace(asked, column=0 if labels == 1 else asked.label)


def _checked_output(model: nn.Module, asked: Interface) -> Tensor:
    name, count = type(model).__name__, 4
    try:
        with torch.enable_grad():  # so that the output tells where it comes from
            z: Any = run(model, asked.probe(count).requires_grad_(True))
    except Exception as error:  # models refuse a shape with errors of many types
        shape = ("batch", *asked.input_shape)
        raise ModelError(
            f"{name} fails on an input of shape {shape}: {first_line(error)}. "
            "Give the shape the model was built for: DetectedModel(model, input_shape=(channels, height, width))"
        ) from error
    if not isinstance(z, Tensor):
        raise ModelError(
            f"{name} returns {type(z).__name__}, expected one tensor of logits (batch, classes). "
            "Wrap it in a module whose forward returns the logits only"
        )
    if z.shape != (count,) and (z.ndim != 2 or z.shape[0] != count):
        returned = tuple(z.shape)
        raise ModelError(f"{name} returns shape {returned} for {count} inputs, expected ({count}, classes)")
    if not z.is_floating_point() or not bool(torch.isfinite(z).all()):
        raise ModelError(f"{name} returns {z.dtype} values that are not finite logits")
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


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
