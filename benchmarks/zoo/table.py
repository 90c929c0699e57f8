"""Tables of the docs: public architectures, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read

SITES = 3
"""Hidden tensors that a model should have at least."""

RESULT = Path(__file__).parent / "results" / "zoo.json"


def zoo() -> list[list[str]]:
    """A line a model that was there, by family; those that need action say why."""
    rows = [
        ["family", "model", "", "sites", "seconds", "difference", "smaller images", "free statistics",
         "in ONNX Runtime", ""]
    ]  # fmt: skip
    for family, models in _families().items():
        for found in models:
            reason = found.get("reason", "").split(". ")[0]
            rows.append([family, found["name"], found["kind"], *_figures(found), reason])
    return rows


def families() -> list[list[str]]:
    """A line a family, and one for all: how many were cut, and the worst of each figure."""
    grouped = _families()
    everything = [found for models in grouped.values() for found in models]
    head = ["family", "models", f"cut, {SITES} sites or more", "slowest, s", "on the clock, s", "largest difference"]
    rows = [[*head, "in ONNX Runtime"]]
    for family, models in [*grouped.items(), ("all", everything)]:
        built = [found for found in models if found["kind"] != "not built"]
        cut = [found for found in built if found["kind"] == "cut" and found["sites"] >= SITES]
        served = [found for found in built if found.get("exported")]
        times = [_largest(built, figure, ".0f") for figure in ("seconds", "elapsed")]
        differences = [_largest(built, figure, ".0e") for figure in ("difference", "served_difference")]
        rows.append(
            [family, str(len(built)), str(len(cut)), *times, differences[0], f"{len(served)}, to {differences[1]}"]
        )
    return rows


def _largest(models: list[dict[str, Any]], figure: str, form: str) -> str:
    """The largest of a figure that some models have."""
    known = [found[figure] for found in models if figure in found]
    return format(max(known), form) if known else ""


def _families() -> dict[str, list[dict[str, Any]]]:
    """Rows of the models that were there, by family, in the order of the families' first."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for found in read(RESULT)["rows"]:
        if found["kind"] != "absent":
            grouped.setdefault(found["family"], []).append(found)
    return grouped


def _figures(found: dict[str, Any]) -> list[str]:
    if "sites" not in found:
        return [""] * 6
    served = f"{found['served_difference']:.0e}" if found.get("exported") else "no"
    return [
        str(found["sites"]), f"{found['seconds']:.0f}", f"{found['difference']:.0e}",
        "yes" if found["elastic"] else "no", f"{found['free_cost']:.2f}", served,
    ]  # fmt: skip


TABLES = {"zoo-families": families, "zoo": zoo}
