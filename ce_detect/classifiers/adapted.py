"""Models that take pixels by name or return more than logits, as models from one tensor to one tensor."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.core.errors import ModelError

logger = logging.getLogger("ce_detect")

Output = str | int
"""Which part of what a model returns are the logits: a key or an attribute, or a position."""

PREFIX = "_adapted_model"
"""Name of a model within what adapts it; it is no part of a path that a user sees."""


def bare(model: nn.Module) -> nn.Module:
    """The user's model in what may be an adapted one."""
    return model.get_submodule(PREFIX) if isinstance(model, AdaptedModel) else model


class AdaptedModel(nn.Module):
    """A model as one that maps pixels to logits.

    Args:
        model: the user's model.
        keyword: name of the argument that takes the pixels; None for the first position.
        output: what is taken from what it returns; None where that is one tensor.
    """

    def __init__(self, model: nn.Module, *, keyword: str | None, output: Output | None) -> None:
        super().__init__()
        self.add_module(PREFIX, model)
        self.keyword, self.output = keyword, output
        self.training = model.training

    def forward(self, x: Tensor) -> Any:
        """Return the logits of pixels ``(batch, channels, height, width)``."""
        model = self.get_submodule(PREFIX)
        returned = model(x) if self.keyword is None else model(**{self.keyword: x})
        return returned if self.output is None else _part(returned, self.output)


def adapted(model: nn.Module, example: Tensor, output: Output | None = None) -> nn.Module:
    """Adapt a model, where it has to be.

    Args:
        model: in eval mode.
        example: pixels that it takes, ``(batch, channels, height, width)``, of its type and on its device.
        output: which part of what it returns are the logits; found when not given: ``logits``, or the first tensor.

    Returns:
        The model itself where it maps one tensor to one tensor.

    Raises:
        ModelError: it needs more inputs than pixels, or returns nothing that can be the logits.
    """
    keyword = _keyword(model)
    if output is None:
        try:
            with torch.no_grad():
                returned = AdaptedModel(model, keyword=keyword, output=None)(example.clone())
        except Exception:  # noqa: BLE001  what a model fails with is told where its output is read
            returned = None
        output = _found(model, returned)
    if keyword is None and output is None:
        return model
    return AdaptedModel(model, keyword=keyword, output=output)


def _keyword(model: nn.Module) -> str | None:
    """Name of the argument that takes the pixels; None where the first one does."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # compiled code has no signature
        return None
    first = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    others = [p.name for p in needed if p not in first[:1]]
    if not first:
        likely = [name for name in named if name == "pixel_values"] or [p.name for p in needed][:1] or named[:1]
        if not likely:
            raise ModelError(f"the forward of {type(model).__name__} takes no input. Wrap a model that takes pixels")
        others = [name for name in others if name != likely[0]]
    if others:
        raise ModelError(
            f"the forward of {type(model).__name__} needs more than the pixels: {', '.join(others)}. "
            "Wrap it in a module whose forward takes the pixels alone and gives the rest"
        )
    return None if first else likely[0]


def _found(model: nn.Module, returned: Any) -> Output | None:
    """The part of an output that holds the logits; None where the output is one tensor, or nothing is known."""
    name = type(model).__name__
    if returned is None or isinstance(returned, Tensor):
        return None
    kind = type(returned).__name__
    if isinstance(_part(returned, "logits"), Tensor):
        output: Output = "logits"
    elif isinstance(returned, Mapping):
        tensors = [key for key, value in returned.items() if isinstance(value, Tensor) and value.ndim == 2]
        if len(tensors) != 1:
            raise ModelError(
                f"{name} returns {kind} with {', '.join(map(repr, returned))}; it is not clear which are the logits. "
                "Name one: output='...'"
            )
        output = tensors[0]
    elif isinstance(returned, tuple | list) and len(returned) and isinstance(returned[0], Tensor):
        output = 0
    else:
        raise ModelError(
            f"{name} returns {kind}, in which there are no logits (batch, classes). Wrap it in a module whose forward "
            "returns the logits, or name what holds them: output='...'"
        )
    logger.warning("%s returns %s; its %r is taken for the logits. Name another with output=", name, kind, output)
    return output


def _part(returned: Any, output: Output) -> Any:
    """A part of what a model returned; None where it has no such part."""
    if isinstance(output, int):
        there = isinstance(returned, tuple | list) and -len(returned) <= output < len(returned)
        return returned[output] if there else None
    return returned.get(output) if isinstance(returned, Mapping) else getattr(returned, output, None)
