"""What a search may add to a signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature as arguments_of
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.classifiers.base import INPUT, PENULTIMATE, Classifier, site_shapes
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.signature import Signature, feature_names
from ce_detect.interventions import (
    AblateChannels,
    AblateConcept,
    BitDepth,
    Blur,
    Clip,
    Contrast,
    Downscale,
    DropTokens,
    Flip,
    GaussianNoise,
    GradientStep,
    Grey,
    GridMask,
    Intervention,
    LearnedMask,
    Median,
    Pool,
    RandomMask,
    Rotate,
    Scale,
    Shift,
    UniversalPerturbation,
    Zoom,
    from_spec,
    kinds,
)


@dataclass(frozen=True, slots=True)
class Item:
    """Something that may be added to a signature: an intervention, channel moments at a site, or recovery errors.

    Attributes:
        name: what ledgers call it.
        intervention: what is done; None for statistics of the one forward pass.
        site: where moments are taken; empty for anything else.
        layer_consistency: what gives recovery errors; None for anything else.
    """

    name: str
    intervention: Intervention | None = None
    site: str = ""
    layer_consistency: LayerConsistency | None = None

    @property
    def family(self) -> str:
        """Family of the intervention, ``"moments"`` or ``"recovery"``."""
        if self.intervention is not None:
            return self.intervention.family
        return "moments" if self.site else "recovery"

    @property
    def exportable(self) -> bool:
        """Whether it can become part of an ONNX graph."""
        return self.intervention is None or self.intervention.exportable


def of(intervention: Intervention) -> Item:
    """The item that adds an intervention."""
    return Item(intervention.name, intervention)


def candidates(classifier: Classifier, seed: int) -> list[Item]:
    """Everything that needs no learning and that the search considers for a classifier, the usually best first."""
    low, high = classifier.bounds
    small = 0.75 if classifier.elastic else 1.0
    channels, height, width = classifier.input_shape
    noise: dict[str, Any] = {"seed": seed, "channels": channels, "side": max(height, width), "width": high - low}
    at_input: list[Intervention] = [
        Flip(scale=small), BitDepth(bits=4, low=low, high=high, scale=small), Flip(),
        BitDepth(bits=4, low=low, high=high),
        Shift(dx=1, dy=0), Shift(dx=0, dy=1), Shift(dx=-1, dy=-1), Shift(dx=1, dy=1, scale=small),
        Downscale(scale=0.75, restore=not classifier.elastic), Downscale(scale=0.5, restore=not classifier.elastic),
        BitDepth(bits=3, low=low, high=high), GaussianNoise(sigma=0.02, **noise),
        GaussianNoise(sigma=0.05, draws=2, **noise),
        Blur(sigma=0.5), Blur(sigma=0.8), Median(size=2), Contrast(factor=0.7), Grey(), Rotate(degrees=-10),
        Zoom(factor=0.9),
        GridMask(cells=2), GridMask(cells=2, reverse=True), GridMask(cells=2, baseline="blur"),
        GridMask(cells=2, baseline="noise"), RandomMask(draws=2, seed=seed),
        RandomMask(draws=2, reverse=True, seed=seed),
    ]  # fmt: skip
    if classifier.elastic:
        at_input.append(Downscale(scale=0.875))
    items = {intervention.name: of(intervention) for intervention in at_input}
    shapes = site_shapes(classifier)
    for site in movable(shapes):
        for intervention in _at_map(site, shapes[site], classifier, seed):
            items[intervention.name] = of(intervention)
    for site in sequences(shapes):
        for intervention in _at_tokens(site, shapes[site], seed):
            items[intervention.name] = of(intervention)
    for toward in (False, True) if classifier.differentiable else ():
        site = _last_but_one([*movable(shapes), *sequences(shapes)])
        step = GradientStep(site=site, toward=toward, low=low, high=high, multi_label=classifier.multi_label)
        items[step.name] = of(step)
    moments = [Item(f"moments@{site}", site=site) for site in shapes if len(shapes[site]) > 1]
    return [*moments, *items.values()]


def _at_map(site: str, shape: tuple[int, ...], classifier: Classifier, seed: int) -> list[Intervention]:
    found: list[Intervention] = [
        Shift(site=site, dx=1, dy=0), Shift(site=site, dx=0, dy=1), Blur(site=site, sigma=0.7),
        Scale(site=site, factor=0.5), Clip(site=site, spread=1.5), AblateChannels(site=site, groups=2),
        Flip(site=site), RandomMask(site=site, draws=2, seed=seed),
        GaussianNoise(site=site, sigma=0.3, seed=seed, channels=shape[0], side=max(shape[1:]), relative=True),
    ]  # fmt: skip
    if classifier.elastic and min(shape[1:]) >= 4:
        found.append(Pool(site=site, size=2))
    return found


def _at_tokens(site: str, shape: tuple[int, ...], seed: int) -> list[Intervention]:
    count, channels = shape
    side = int(np.ceil(np.sqrt(count)))
    return [
        DropTokens(site=site, count=count, seed=seed), Scale(site=site, factor=0.5), Clip(site=site, spread=1.5),
        Contrast(site=site, factor=0.7), AblateChannels(site=site, groups=2),
        GaussianNoise(site=site, sigma=0.3, seed=seed, channels=channels, side=side, relative=True),
    ]  # fmt: skip


def learnable(classifier: Classifier) -> list[Item]:
    """Interventions that the search considers once their parameters are learned, the usually best first."""
    shapes = site_shapes(classifier)
    low, high = classifier.bounds
    maps, tokens = movable(shapes), sequences(shapes)
    found: list[Intervention] = [
        LearnedMask(site=site, shape=_text(shapes[site])) for site in (maps[-2:] if maps else tokens[-3:-1])
    ]
    found += [
        AblateConcept(site=site, channels=shapes[site][0], concepts=min(8, shapes[site][0])) for site in maps[-1:]
    ]
    found.append(UniversalPerturbation(shape=_text(classifier.input_shape), eps=0.01, low=low, high=high))
    return [of(intervention) for intervention in found]


def completed(spec: Mapping[str, Any], classifier: Classifier, seed: int = 0) -> Intervention:
    """Make an intervention from a recipe's specification; what it leaves out and the classifier knows is filled in."""
    cls = kinds().get(str(spec.get("kind")))
    known = {} if cls is None else arguments_of(cls.__init__).parameters
    shape = {**site_shapes(classifier), INPUT: classifier.input_shape}.get(spec.get("site", INPUT), ())
    low, high = classifier.bounds
    filled: dict[str, Any] = {
        "low": low, "high": high, "shape": _text(shape), "multi_label": classifier.multi_label, "seed": seed,
    }  # fmt: skip
    if len(shape) == 3:
        filled["channels"] = shape[0]
    if len(shape) == 2:
        filled |= {"channels": shape[1], "count": shape[0]}
    return from_spec({**{key: value for key, value in filled.items() if key in known}, **spec})


def movable(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Feature maps where moving or blurring shows: all but the last before a pooled penultimate layer."""
    maps = [site for site, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) > 1]
    return maps[:-1] if PENULTIMATE in shapes and len(maps) > 1 else maps


def sequences(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Sites whose tensors are tokens ``(tokens, channels)``."""
    return [site for site, shape in shapes.items() if len(shape) == 2 and shape[0] > 1]


def signature_of(classifier: Classifier, items: list[Item], chunk: int | None) -> Signature:
    """The signature of these items, on the classifier's device."""
    interventions = [item.intervention for item in items if item.intervention is not None]
    sites = tuple(item.site for item in items if item.site)
    recovery = next((item.layer_consistency for item in items if item.layer_consistency is not None), None)
    made = Signature(classifier, interventions, sites=sites, layer_consistency=recovery, chunk=chunk)
    return made.to(classifier.device)


def columns(names: tuple[str, ...], items: list[Item]) -> dict[str, NDArray[np.int64]]:
    """Columns of each item in a signature that has them all; those of the free statistics under the empty name."""
    position = {name: i for i, name in enumerate(names)}
    found = {}
    for item in items:
        if item.intervention is not None:
            own = [position[name] for name in feature_names(item.intervention)]
        elif item.layer_consistency is not None:
            own = [position[name] for name in item.layer_consistency.names]
        else:
            moments = tuple(f"trace.{moment}[{item.site}][" for moment in ("mean", "deviation"))
            own = [i for i, name in enumerate(names) if name.startswith(moments)]
        found[item.name] = np.array(own)
    found[""] = np.setdiff1d(np.arange(len(names)), np.concatenate(list(found.values())))
    return found


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)


def _last_but_one(sites: list[str]) -> str:
    """A late site that still has something nonlinear after it; the input where there is none."""
    return sites[-2] if len(sites) > 1 else (sites[0] if sites else INPUT)
