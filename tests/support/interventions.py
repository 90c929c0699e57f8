"""Every kind of intervention, and the tensors that it is tried on: the input, a feature map and tokens."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.interventions import Intervention, LearnedIntervention, from_spec, kinds

CHANGES: dict[str, list[dict[str, int | float | str | bool]]] = {
    "BitDepth": [{"scale": 0.75}],
    "Downscale": [{"restore": True}, {"scale": 0.5}],
    "Flip": [{"scale": 0.75}],
    "AblateConcept": [{"size": 1}],
    "DropTokens": [{"draws": 3, "keep": 0.2, "spared": 0}],
    "GaussianNoise": [{"draws": 3, "sigma": 0.1}, {"side": 5}, {"side": 2, "relative": True}],
    "GradientStep": [{"toward": True, "norm": "l2"}],
    "LearnedMask": [{"draws": 3}],
    "MakeCounterfactual": [{"width": 4, "depth": 1}],
    "GridMask": [{"cells": 3, "baseline": "blur"}, {"reverse": True, "baseline": "noise"}],
    "Median": [{"size": 2}],
    "Pool": [{"mode": "max"}, {"size": 3}],
    "RandomMask": [{"draws": 3, "baseline": "blur"}, {"reverse": True, "baseline": "noise"}],
    "Shift": [{"dx": -2, "dy": 3}, {"scale": 0.5}],
}
"""Settings worth trying beside the default ones."""


@dataclass(frozen=True)
class Case:
    """An intervention and the tensor that it is tried on."""

    spec: dict[str, int | float | str | bool]
    h: Tensor

    def make(self) -> Intervention:
        """A new intervention from the specification, with a classifier to ask or a start of learning if need be."""
        made = from_spec(self.spec)
        if isinstance(made, LearnedIntervention):
            with torch.no_grad():
                made.start(self.h, torch.Generator().manual_seed(0))
        if made.needs_resume:
            _weights(self.h[0].numel())
            made.forward = partial(made.forward, resume=small_network)  # type: ignore[method-assign]
        return made


def small_network(h: Tensor) -> Tensor:
    """Logits ``(rows, 4)`` of a tensor of any shape: two layers with fixed weights."""
    flat = h.flatten(1)
    first, second = _weights(flat.shape[1])
    return torch.tanh(flat @ first) @ second


@functools.lru_cache
def _weights(inputs: int) -> tuple[Tensor, Tensor]:
    """Weights of a `small_network`, drawn before anything is exported."""
    generator = torch.Generator().manual_seed(7)
    first = torch.randn(inputs, 16, generator=generator) / inputs**0.5
    return first, torch.randn(16, 4, generator=generator)


def pixels() -> Tensor:
    """Seven colour images in [0, 1], of odd and unequal sides, of which one is constant."""
    generator = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.rand(7, 3, 5, 5, generator=generator), size=(13, 11))
    images[3] = 0.25
    return images


def feature_map() -> Tensor:
    """Latents of four channels of both signs, some far from the others in scale, some of them zero."""
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(7, 4, 6, 5, generator=generator) * torch.logspace(-2, 2, 7).view(-1, 1, 1, 1)
    h[2, 1] = 0
    return h


def tokens() -> Tensor:
    """Sequences of ten tokens of four channels, of both signs and of different scales."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(7, 10, 4, generator=generator) * torch.logspace(-1, 1, 7).view(-1, 1, 1)


def settings(kind: str, h: Tensor) -> dict[str, int | str]:
    """What a kind must know of the tensor that it is used on."""
    channels = h.shape[1] if h.ndim == 4 else h.shape[2]
    known: dict[str, int | str] = {
        "shape": "x".join(str(side) for side in h.shape[1:]), "channels": channels, "count": h.shape[1], "concepts": 3,
        "classes": 4,
    }  # fmt: skip
    return {key: value for key, value in known.items() if key in inspect.signature(kinds()[kind].__init__).parameters}


def _cases() -> list[object]:
    cases = []
    for kind, cls in kinds().items():
        at_input = inspect.signature(cls.__init__).parameters["site"].default == INPUT
        places = [(INPUT, pixels())] if at_input else []
        places += [("layer", feature_map())] if cls.latents else []
        places += [("blocks", tokens())] if cls.tokens else []
        for changes in [{}, *CHANGES.get(kind, [])]:
            for site, h in places:
                spec = {"kind": kind, "site": site, **settings(kind, h), **changes}
                cases.append(pytest.param(Case(spec, h), id=from_spec(spec).name))
    return cases


CASES = _cases()
