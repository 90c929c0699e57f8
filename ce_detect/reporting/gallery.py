"""Inputs with their verdicts, their maps, and what carried their scores in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ce_detect.core.types import Bounds, Floats
from ce_detect.evaluate.scores import Flagged
from ce_detect.explain.effect_maps import MAPS
from ce_detect.explain.explanation import Explanation
from ce_detect.explain.methods import METHODS
from ce_detect.explain.originals import enlarged
from ce_detect.reporting import pictures

SHOWN = 6
"""Parts of the evidence that are listed for each input."""

CAPTIONS = {
    "target": "where hiding weakens {label}",
    "non_target": "where hiding moves other classes",
    "rival": "where hiding lets a rival rise",
}
"""What each effect map shows; the first stands beside the maps of other methods."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One input.

    Attributes:
        name: what the page calls it.
        verdict: plain data: label, score, p-value, whether it is flagged, what carried the score, range of each map.
        pictures: caption, alternative text and address of each picture.
        explained: the class whose evidence the maps show, where it is not what was decided; else None.
        after: pictures after an attack that kept the decision, where that was asked for.
    """

    name: str
    verdict: dict[str, Any]
    pictures: list[dict[str, str]]
    explained: int | None = None
    after: list[dict[str, str]] = field(default_factory=list)


def entries(
    found: Explanation, names: Sequence[str], bounds: Bounds, flagged: Sequence[Flagged] | None = None
) -> list[Entry]:
    """Return what a page shows of explained inputs.

    Args:
        found: the explanation.
        names: what the page calls the inputs.
        bounds: smallest and largest valid pixel value.
        flagged: where the inputs come from, where that is known.
    """
    origins: Sequence[Flagged | None] = [None] * len(names) if flagged is None else flagged
    return [_entry(found, place, name, bounds, origins[place]) for place, name in enumerate(names)]


def picture(caption: str, alt: str, address: str) -> dict[str, str]:
    """A picture of a page, with its words."""
    return {"caption": caption, "alt": alt, "address": address}


def _entry(found: Explanation, place: int, name: str, bounds: Bounds, origin: Flagged | None) -> Entry:
    low, high = bounds
    pixels, over, what_it_is = _ground(found, place, bounds)
    maps = {kind: np.asarray(getattr(found.maps, kind)[place].cpu()) for kind in MAPS}
    ranges = {kind: [round(float(end), 4) for end in (values.min(), values.max())] for kind, values in maps.items()}
    label, decided = int(found.maps.label[place]), int(found.result.label[place])
    shown = []
    if origin is not None and origin.before is not None:
        before = pictures.plain((origin.before - low) / (high - low))
        shown.append(picture(f"before: the model said class {origin.label}", f"{name}, before the change", before))
    shown.append(picture(what_it_is, f"The input {name}", pictures.plain(pixels)))
    shown += _clean(found, decided, bounds)
    for kind, values in maps.items():
        what = CAPTIONS[kind].format(label="the decision" if label == decided else f"class {label}")
        caption = f"{what}: {ranges[kind][0]:.1f} to {ranges[kind][1]:.1f}"
        shown.append(picture(caption, f"Map over {name}: {what}", over(values)))
        if kind == "target":
            shown += _others(found, place, name, over)
    result = found.result
    verdict = {
        "label": decided,
        "score": float(result.score[place]),
        "p_value": float(result.p_value[place]),
        "is_adversarial": bool(result.is_adversarial[place]),
        "carried": [part.words for part in found.carried[place][:SHOWN]],
        "maps": ranges,
    }
    return Entry(name, verdict, shown, None if label == decided else label, list(_after(found, place, name, bounds)))


def _ground(found: Explanation, place: int, bounds: Bounds) -> tuple[Floats, Callable[[Floats], str], str]:
    """What maps of an input lie over, how one is laid over it, and its caption: the original, where there is one."""
    if found.originals is None:
        low, high = bounds
        pixels = (found.pixels[place] - low) / (high - low)
        return pixels, lambda values: pictures.with_map(pixels, values), "the input"
    image, part = found.originals.shown(place)
    reduced = pictures.of_file(image)
    height, width = reduced.shape[1:]
    caption = f"the image, {image.shape[1]} by {image.shape[0]} pixels; coloured below is what the model sees of it"
    return reduced, lambda values: pictures.with_map(reduced, enlarged(values, (height, width), part)), caption


def _clean(found: Explanation, label: int, bounds: Bounds) -> Iterator[dict[str, str]]:
    """A clean input of the same class, where some were given."""
    place = None if found.clean is None else found.clean.typical(label)
    if found.clean is None or place is None:
        return
    low, high = bounds
    pixels = (np.asarray(found.clean.pixels[place], np.float32) - low) / (high - low)
    caption = f"a clean input of class {label}, of median score {float(found.clean.score[place]):.2f}"
    yield picture(caption, f"Clean input {place + 1}, of class {label}", pictures.plain(pixels))


def _others(found: Explanation, place: int, name: str, over: Callable[[Floats], str]) -> Iterator[dict[str, str]]:
    """Maps of other methods, and how like ours they order the pixels."""
    for method, maps in found.other_maps.items():
        title = METHODS[method].title
        caption = f"{title}: rank correlation with the effect map {found.likeness[method][place]:.2f}"
        yield picture(caption, f"Map over {name}: {title}", over(maps[place]))


def _after(found: Explanation, place: int, name: str, bounds: Bounds) -> Iterator[dict[str, str]]:
    """The input and its maps after the attack, and how like those before they are."""
    if found.after is None:
        return
    low, high = bounds
    pixels = (found.after.pixels[place] - low) / (high - low)
    yield picture("the input after the attack", f"{name} after the attack", pictures.plain(pixels))
    for method, maps in found.after.maps.items():
        title = METHODS["effect-map" if method == "target" else method].title
        caption = f"{title}: rank correlation with the map before {found.after.likeness[method][place]:.2f}"
        yield picture(caption, f"Map over {name} after the attack: {title}", pictures.with_map(pixels, maps[place]))
