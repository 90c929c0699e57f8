"""The report of an explanation: each input with its maps, and what carried its score in words."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.artifacts.manifest import Manifest
from ce_detect.core.types import Bounds
from ce_detect.counterfactual import Counterfactuals
from ce_detect.explain.explanation import Explanation
from ce_detect.explain.methods import METHODS
from ce_detect.reporting import pictures
from ce_detect.reporting.counterfactual import described
from ce_detect.reporting.document import Document, Headline, Verdict
from ce_detect.reporting.gallery import entries, picture
from ce_detect.reporting.model_card import model_card
from ce_detect.reporting.page import rendered
from ce_detect.reporting.words import percent, shown

LACKING = "Left out, as the classifier has no gradients"
REMEDY = "Pass the PyTorch model that its file was made from to have that, too."
"""What is said of what an ONNX file that is run as it is cannot give."""

LEFT_OUT = "see --json"
"""Stands in the page's own numbers for those that would make it large."""


def document(
    explanation: Explanation, manifest: Manifest, *, artifact: str, names: list[str], bounds: Bounds,
    counterfactuals: Counterfactuals | None = None,
) -> Document:  # fmt: skip
    """Make the report of an explanation.

    Args:
        explanation: of some inputs.
        manifest: of the detector.
        artifact: what the report calls the detector.
        names: what it calls the inputs.
        bounds: smallest and largest valid pixel value.
        counterfactuals: the inputs as another class, where that was asked for.
    """
    inputs = [{"name": name, **one} for name, one in zip(names, explanation.to_dict(), strict=True)]
    for one in inputs:
        one["carried"] = [{**part, "name": shown(part["name"], manifest)} for part in one["carried"]]
    if counterfactuals is not None:
        inputs = [{**o, "counterfactual": c} for o, c in zip(inputs, counterfactuals.to_dict(), strict=True)]
    found = {
        "artifact": artifact,
        "verdict": asdict(_verdict(explanation)),
        "inputs": inputs,
        "left_out": list(explanation.left_out),
        **({} if explanation.concepts is None else {"concepts": explanation.concepts.to_dict()}),
        "model_card": model_card(manifest, artifact=artifact),
    }
    return Document(found, lambda: _page(found, explanation, names, bounds, counterfactuals))


def _verdict(explanation: Explanation) -> Verdict:
    result = explanation.result
    flagged, n = int(result.is_adversarial.sum()), len(result.score)
    meaning = "of clean inputs look at least as adversarial"
    return Verdict(
        state="failed" if flagged else "passed",
        label="Flagged" if flagged else "Passed",
        headline=f"{flagged} of {n} {'input' if n == 1 else 'inputs'} flagged.",
        details=(
            "A flag means: attacked, or the classifier is unsure here.",
            *((f"{LACKING}: {', '.join(explanation.left_out)}. {REMEDY}",) if explanation.left_out else ()),
        ),
        figures=(
            Headline(f"{np.max(result.score):.2f}", "largest score", f"threshold: {result.threshold:.2f}"),
            Headline(
                f"{np.min(result.p_value):.3g}", "smallest p-value", f"{percent(np.min(result.p_value))} {meaning}"
            ),
        ),
    )


def _page(
    found: dict[str, Any], explanation: Explanation, names: list[str], bounds: Bounds, made: Counterfactuals | None
) -> str:
    small = {**found, "inputs": [_small(one) for one in found["inputs"]]}
    if "concepts" in found:
        kept = [{**one, "places": LEFT_OUT} for one in found["concepts"]["concepts"]]
        small["concepts"] = {**found["concepts"], "concepts": kept}
    listed = entries(explanation, names, bounds)
    if made is not None:
        for place, one in enumerate(listed):
            one.pictures.extend(described(made, explanation.pixels, place, one.name, bounds))
    return rendered(
        "explanation.html.j2",
        title=f"Why {Path(found['artifact']).name} judged so",
        found=found,
        numbers=small,
        entries=listed,
        threshold=explanation.result.threshold,
        site=explanation.maps.site,
        baseline=explanation.maps.baseline,
        other_methods=[METHODS[name].title for name in explanation.other_maps],
        attack=None if explanation.after is None else explanation.after.eps,
        concepts=_concepts(explanation, bounds),
    )


def _small(one: dict[str, Any]) -> dict[str, Any]:
    """An input's numbers without its maps."""
    made = {"counterfactual": {**one["counterfactual"], "mask": LEFT_OUT}} if "counterfactual" in one else {}
    after = {"after_attack": {**one["after_attack"], "maps": LEFT_OUT}} if "after_attack" in one else {}
    return {**one, "maps": LEFT_OUT, **after, **made}


def _concepts(explanation: Explanation, bounds: Bounds) -> list[dict[str, Any]]:
    """What a page shows of each concept: its figures, and where it is in the images that excite it most."""
    low, high = bounds
    shown: list[dict[str, Any]] = []
    for one in () if explanation.concepts is None else explanation.concepts.concepts:
        images = []
        for image, excitation, places in zip(one.images, one.excitation, one.places, strict=True):
            assert explanation.ranked_by is not None
            pixels = (np.asarray(explanation.ranked_by[image], np.float32) - low) / (high - low)
            images.append(
                picture(
                    f"clean image {image + 1}: excitation {excitation:.2f}",
                    f"Map over clean image {image + 1}: where concept {one.number} is",
                    pictures.with_map(pixels, np.asarray(places, np.float32)),
                )
            )
        shown.append({"concept": one, "pictures": images})
    return shown
