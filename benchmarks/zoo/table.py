"""Table of the docs: public architectures, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read

RESULT = Path(__file__).parent / "results" / "zoo.json"


def zoo() -> list[list[str]]:
    """A line a model that was there; those that need action say why."""
    rows = [["model", "", "sites", "seconds", "difference", "smaller images", "free statistics", "in ONNX Runtime", ""]]
    for found in read(RESULT)["rows"]:
        if found["kind"] != "absent":
            rows.append([found["name"], found["kind"], *_figures(found), found.get("reason", "").split(". ")[0]])
    return rows


def _figures(found: dict[str, Any]) -> list[str]:
    if "sites" not in found:
        return [""] * 6
    served = f"{found['served_difference']:.0e}" if found.get("exported") else "no"
    return [
        str(found["sites"]), f"{found['seconds']:.0f}", f"{found['difference']:.0e}",
        "yes" if found["elastic"] else "no", f"{found['free_cost']:.2f}", served,
    ]  # fmt: skip


TABLES = {"zoo": zoo}
