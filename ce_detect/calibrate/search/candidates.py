"""What a search may add to a signature."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from inspect import signature as arguments_of
from typing import Any

from ce_detect.calibrate.items import Item
from ce_detect.classifiers.base import INPUT, Classifier, movable, site_shapes
from ce_detect.core.errors import CalibrationError
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

logger = logging.getLogger("ce_detect")


def candidates(classifier: Classifier, seed: int) -> list[Item]:
    """Everything that needs no learning and that the search considers for a classifier, the usually best first.

    Args:
        classifier: what is wrapped.
        seed: seed that random interventions draw from.
    """
    shapes = site_shapes(classifier)
    found = _at_input(classifier, seed)
    for site in movable(shapes):
        found += _at_map(site, shapes[site], classifier, seed)
    for site in sequences(shapes):
        found += _at_tokens(site, shapes[site], seed)
    found += _gradient_steps(classifier, [*movable(shapes), *sequences(shapes)])
    moments = [Item(f"moments@{site}", site=site) for site in shapes if len(shapes[site]) > 1]
    return [*moments, *{intervention.name: Item.of(intervention) for intervention in found}.values()]


def _at_input(classifier: Classifier, seed: int) -> list[Intervention]:
    low, high = classifier.bounds
    small = 0.75 if classifier.elastic else 1.0
    channels, height, width = classifier.input_shape
    noise: dict[str, Any] = {"seed": seed, "channels": channels, "side": max(height, width), "width": high - low}
    found: list[Intervention] = [
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
        found += [Downscale(scale=0.875), Downscale(scale=0.625), Flip(scale=0.625)]
    return found


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
    side = math.ceil(math.sqrt(count))
    return [
        DropTokens(site=site, count=count, seed=seed), Scale(site=site, factor=0.5), Clip(site=site, spread=1.5),
        Contrast(site=site, factor=0.7), AblateChannels(site=site, groups=2),
        GaussianNoise(site=site, sigma=0.3, seed=seed, channels=channels, side=side, relative=True),
    ]  # fmt: skip


def _gradient_steps(classifier: Classifier, sites: list[str]) -> list[Intervention]:
    """Away from the decision and toward it, at a late site that still has something nonlinear after it."""
    if not classifier.differentiable:
        return []
    low, high = classifier.bounds
    site = sites[-2] if len(sites) > 1 else (sites[0] if sites else INPUT)
    return [
        GradientStep(site=site, toward=toward, low=low, high=high, multi_label=classifier.multi_label)
        for toward in (False, True)
    ]


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
    return [Item.of(intervention) for intervention in found]


def completed(spec: Mapping[str, Any], classifier: Classifier, seed: int = 0, *, told: bool = True) -> Intervention:
    """Make an intervention from a recipe's specification; what it leaves out and the classifier knows is filled in.

    Where the classifier takes one size alone, what would make its input smaller keeps the size.

    Args:
        spec: of the recipe.
        classifier: whose sites it names.
        seed: of what is drawn at random.
        told: whether the log says that a size was kept.

    Raises:
        CalibrationError: what makes a hidden layer smaller, of such a classifier.
    """
    spec = spec if classifier.elastic else _at_full_size(spec, told)
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


def _at_full_size(spec: Mapping[str, Any], told: bool) -> Mapping[str, Any]:
    kind = spec.get("kind")
    if kind == Pool.__name__:
        raise CalibrationError(
            f"the recipe names {kind} at {spec.get('site', INPUT)}, but the classifier takes one size alone, and so do "
            "its layers; take Blur there, or leave it out"
        )
    if kind == Downscale.__name__ and not spec.get("restore"):
        changed: dict[str, Any] = {"restore": True}
    elif kind != Downscale.__name__ and spec.get("scale", 1.0) != 1.0 and spec.get("site", INPUT) == INPUT:
        changed = {"scale": 1.0}
    else:
        return spec
    if told:
        logger.warning("the classifier takes images of one size alone: %s runs with %s, at full cost", kind, changed)
    return {**spec, **changed}


def sequences(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Sites whose tensors are tokens ``(tokens, channels)``."""
    return [site for site, shape in shapes.items() if len(shape) == 2 and shape[0] > 1]


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
