"""An explanation as one HTML file without scripts: each input with its maps, and what carried its score in words."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core import extras
from ce_detect.core.types import Bounds, Floats
from ce_detect.explain.effect_maps import MAPS
from ce_detect.explain.explanation import Explanation

SHOWN = 6
"""Parts of the evidence that are listed for each input."""

CAPTIONS = {
    "target": "where hiding weakens the decision",
    "non_target": "where hiding moves other classes",
    "rival": "where hiding lets a rival rise",
}

SIDE = 224
"""Longer side, in pixels, to which small pictures are enlarged."""

_PURPOSE = "An explanation as HTML"


def html(explanation: Explanation, *, artifact: str, names: list[str], bounds: Bounds) -> str:
    """Return an explanation as one self-contained page.

    Args:
        explanation: of some inputs.
        artifact: what the page calls the detector.
        names: what it calls the inputs.
        bounds: smallest and largest valid pixel value.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    with extras.needed_for(_PURPOSE, extra="explain"):
        from jinja2 import Environment, FileSystemLoader
    folder = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    inputs = [_entry(explanation, place, name, bounds) for place, name in enumerate(names)]
    return environment.get_template("explanation.html.j2").render(
        artifact=artifact,
        inputs=inputs,
        threshold=f"{explanation.result.threshold:.2f}",
        site=explanation.maps.site,
        baseline=explanation.maps.baseline,
    )


def _entry(explanation: Explanation, place: int, name: str, bounds: Bounds) -> dict[str, Any]:
    result, maps = explanation.result, explanation.maps
    low, high = bounds
    pixels = (explanation.pixels[place] - low) / (high - low)
    shown = {kind: np.asarray(getattr(maps, kind)[place].cpu()) for kind in MAPS}
    return {
        "name": name,
        "label": int(result.label[place]),
        "score": f"{float(result.score[place]):.2f}",
        "p_value": f"{float(result.p_value[place]):.3g}",
        "flagged": bool(result.is_adversarial[place]),
        "picture": _png(_as_colour(pixels)),
        "maps": [
            {
                "caption": CAPTIONS[kind],
                "picture": _png(_over(pixels, values)),
                "least": f"{values.min():.1f}",
                "most": f"{values.max():.1f}",
            }
            for kind, values in shown.items()
        ],
        "carried": [part.words for part in explanation.carried[place][:SHOWN]],
    }


def _as_colour(pixels: Floats) -> NDArray[np.uint8]:
    """A picture ``(height, width, 3)`` of channels in [0, 1]: three of them as colour, others by their mean."""
    planes = pixels if len(pixels) == 3 else np.repeat(pixels.mean(axis=0, keepdims=True), 3, axis=0)
    return np.round(planes.clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)


def _over(pixels: Floats, values: Floats) -> NDArray[np.uint8]:
    """A map over its picture in grey: dark blue is the least effect, yellow the most."""
    with extras.needed_for(_PURPOSE, extra="explain"):
        from matplotlib import colormaps

    spread = float(values.max() - values.min())
    unit = (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
    colours = colormaps["cividis"](unit)[..., :3]
    grey = np.repeat(pixels.mean(axis=0)[..., None], 3, axis=2)
    mixed: NDArray[np.uint8] = np.round((0.35 * grey + 0.65 * colours).clip(0, 1) * 255).astype(np.uint8)
    return mixed


def _png(picture: NDArray[np.uint8]) -> str:
    """A picture for the page, enlarged by whole pixels where it is small."""
    image = extras.module("PIL.Image", _PURPOSE, extra="explain").fromarray(picture)
    times = max(1, SIDE // max(image.size))
    buffer = io.BytesIO()
    image.resize((image.width * times, image.height * times), 0).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
