"""A configuration of ``calibrate`` for a model and its images, found by asking both; with the reasons as comments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ce_detect.calibrate import enough, sanity
from ce_detect.calibrate.decisions import decisions
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import TooFewSamplesError
from ce_detect.data import Images, rows, splits, tensors
from ce_detect.guard.wrapped_model import WrappedModel
from ce_detect.reporting.words import percent
from ce_detect.verdict.conformal import Guarantee

ASKED = 300
"""Images that the model is asked about, at most."""

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""False-positive rates that are proposed: the first that the images can support."""

LARGE_SIDE = 128
"""Shorter side, in pixels, from which the recipe for large images is proposed."""

FEW = 3000
"""Images below which the quick recipe is proposed for small ones."""


class Entry(NamedTuple):
    """A key of the file: value, and comment above it; a key that is only named stands as a comment itself."""

    key: str
    value: Any
    comment: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What a model and its images are.

    Attributes:
        model: name of its class.
        parameters: how many it has.
        classes: how many it tells apart.
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value.
        differentiable: whether attacks can take gradients.
        images: different ones.
        labels: how many different labels they have; None where they have none.
        accuracy: of the model, on some of them; None without labels.
        positive: mean number of logits above 0.
    """

    model: str
    parameters: int
    classes: int
    input_shape: tuple[int, ...]
    bounds: tuple[float, float]
    differentiable: bool
    images: int
    labels: int | None
    accuracy: float | None
    positive: float


def look(wrapped: WrappedModel, images: Images) -> Found:
    """Ask a model and its images what they are; warns where they do not fit together.

    Args:
        wrapped: the model.
        images: all of them; the model answers for some.

    Raises:
        InputError, ModelError: images that cannot be judged, or a model that cannot be wrapped.
    """
    read = wrapped.read(images)
    classifier = wrapped.fit(read)
    some = read.subset(np.unique(np.linspace(0, len(read) - 1, ASKED).astype(int)))
    decided = decisions(classifier, some.pixels)
    sanity.check(classifier, some, decided)
    return Found(
        model=type(wrapped.model).__name__,
        parameters=sum(one.numel() for one in wrapped.model.parameters()),
        classes=classifier.num_classes,
        input_shape=classifier.input_shape,
        bounds=classifier.bounds,
        differentiable=classifier.differentiable,
        images=len(splits.distinct(read.pixels)),
        labels=None if read.y is None else len(np.unique(read.y)),
        accuracy=None if some.y is None else float(np.mean(decided == some.y)),
        positive=_positive(classifier, some),
    )


def _positive(classifier: Classifier, images: Images) -> float:
    with torch.inference_mode():
        batches = tensors.batches(rows(images.pixels, slice(64)), 64, classifier.device)
        return float(torch.cat([(classifier.logits(batch) > 0).sum(1) for batch in batches]).double().mean())


def recipe_for(found: Found) -> tuple[str, str]:
    """Name of a recipe, and why."""
    if not found.differentiable:
        return "black-box", "the model gives no gradients, so attacks can only ask it"
    if min(found.input_shape[1:]) >= LARGE_SIDE:
        return "large", "the images are large, so that each forward pass takes long"
    if found.images < FEW:
        return "quick", f"there are fewer than {FEW} small images; 'default' attacks longer, for more of them"
    return "default", "there are many small images; 'quick' gives a first look sooner"


def promise_for(images: int, recipe: str) -> tuple[float, Guarantee]:
    """The smallest rate of `RATES` that so many different images can support, and how surely.

    Raises:
        TooFewSamplesError: there is none.
    """
    kinds: tuple[Guarantee, ...] = ("pac", "marginal")
    tried = [(rate, guarantee) for guarantee in kinds for rate in RATES]
    for rate, guarantee in tried:
        settings = CalibrationSettings.of(recipe=recipe, fpr=rate, guarantee=guarantee)
        try:
            enough.check(images, settings)
        except TooFewSamplesError:
            if (rate, guarantee) == tried[-1]:
                raise
            continue
        return rate, guarantee
    raise AssertionError("unreachable")


def entries(found: Found, given: Mapping[str, Any]) -> Iterator[Entry]:
    """The keys of a configuration.

    Args:
        found: see `look`.
        given: flags that the user gave, such as ``model`` and ``data``: they are repeated.

    Raises:
        TooFewSamplesError: too few images for any promise.
    """
    recipe, why = recipe_for(found)
    rate, guarantee = promise_for(found.images, recipe)
    model = (
        f"{found.model}: {found.parameters:,} parameters, {found.classes} classes, inputs "
        f"{' x '.join(map(str, found.input_shape))} (channels, height, width), "
        f"{'gradients' if found.differentiable else 'no gradients'}."
    )
    labels = (
        "no labels, so figures of accuracy are left out"
        if found.accuracy is None
        else f"{found.labels} different labels, of which the model gets {percent(found.accuracy)} right"
    )
    yield Entry("model", given["model"], model)
    yield from _repeated(given, ("weights",), "Its weights.")
    yield Entry(
        "data", given["data"], f"{found.images} different images, {labels}. None may be of the model's training."
    )
    yield from _repeated(given, ("split", "limit", "resize", "crop", "interpolation"), "As you gave it.")
    yield Entry("bounds", list(found.bounds), "Smallest and largest valid pixel value, as these images have them.")
    several = (
        f"Set this where several labels may hold at once. On average {found.positive:.1f} of {found.classes} logits "
        "are above 0."
    )
    yield Entry("multi-label", bool(given.get("multi_label")), several, bool(given.get("multi_label")))
    yield from _repeated(given, ("label",), "The one label that is watched.")
    yield Entry("recipe", recipe, f"Which attacks to learn from. Chosen because {why}.")
    held = "with 95 % confidence" if guarantee == "pac" else "on average over calibrations: too few images for 'pac'"
    yield Entry("fpr", rate, f"Largest share of clean inputs that may be flagged. The images support it {held}.")
    yield Entry("guarantee", guarantee, "'pac': the rate holds for this very gate. 'marginal': on average.")
    yield Entry("budget", 2.0, "Largest time of a gated forward pass; 1.0 is the model alone.")
    yield Entry("attack-time", "10m", "Start no new attack after this time.", active=False)
    yield Entry("harden", 1, "Also learn from attacks on the gate itself. Takes long, and costs a forward pass.", False)
    yield Entry("seed", 0, "The same seed gives the same gate.")
    yield Entry("output", "guard.safetensors", "The artifact to write.")


def _repeated(given: Mapping[str, Any], keys: tuple[str, ...], comment: str) -> Iterator[Entry]:
    for key in keys:
        if given.get(key) is not None:
            yield Entry(key, given[key], comment)


def toml(listed: list[Entry], name: str) -> str:
    """A file that ``calibrate --config`` takes as it is.

    Args:
        listed: see `entries`.
        name: of the file.
    """
    lines = [
        f"# Made by ce-detect init. Use it: ce-detect calibrate --config {name}",
        "# Each key is a flag of calibrate. A flag on the command line wins over its key here.",
    ]
    for entry in listed:
        lines += ["", f"# {entry.comment}", f"{'' if entry.active else '# '}{entry.key} = {_spelled(entry.value)}"]
    return "\n".join(lines) + "\n"


def _spelled(value: Any) -> str:
    return json.dumps(value if isinstance(value, bool | int | float | list) else str(value), ensure_ascii=False)
