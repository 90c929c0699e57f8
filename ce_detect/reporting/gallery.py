"""Inputs with their verdicts, their maps, and what carried their scores in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ce_detect.core.types import Bounds
from ce_detect.evaluate.scores import Flagged
from ce_detect.explain.effect_maps import MAPS
from ce_detect.explain.explanation import Explanation
from ce_detect.reporting import pictures

SHOWN = 6
"""Parts of the evidence that are listed for each input."""

CAPTIONS = {
    "target": "where hiding weakens the decision",
    "non_target": "where hiding moves other classes",
    "rival": "where hiding lets a rival rise",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One input.

    Attributes:
        name: what the page calls it.
        verdict: plain data: label, score, p-value, whether it is flagged, what carried the score, range of each map.
        pictures: caption, alternative text and address of each picture.
    """

    name: str
    verdict: dict[str, Any]
    pictures: list[dict[str, str]]


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


def _entry(found: Explanation, place: int, name: str, bounds: Bounds, origin: Flagged | None) -> Entry:
    low, high = bounds
    pixels = (found.pixels[place] - low) / (high - low)
    maps = {kind: np.asarray(getattr(found.maps, kind)[place].cpu()) for kind in MAPS}
    ranges = {kind: [round(float(end), 4) for end in (values.min(), values.max())] for kind, values in maps.items()}
    shown = []
    if origin is not None and origin.before is not None:
        before = pictures.plain((origin.before - low) / (high - low))
        shown.append(_picture(f"before: the model said class {origin.label}", f"{name}, before the change", before))
    shown.append(_picture("the input", f"The input {name}", pictures.plain(pixels)))
    for kind, values in maps.items():
        caption = f"{CAPTIONS[kind]}: {ranges[kind][0]:.1f} to {ranges[kind][1]:.1f}"
        shown.append(_picture(caption, f"Map over {name}: {CAPTIONS[kind]}", pictures.with_map(pixels, values)))
    result = found.result
    verdict = {
        "label": int(result.label[place]),
        "score": float(result.score[place]),
        "p_value": float(result.p_value[place]),
        "is_adversarial": bool(result.is_adversarial[place]),
        "carried": [part.words for part in found.carried[place][:SHOWN]],
        "maps": ranges,
    }
    return Entry(name, verdict, shown)


def _picture(caption: str, alt: str, address: str) -> dict[str, str]:
    return {"caption": caption, "alt": alt, "address": address}
