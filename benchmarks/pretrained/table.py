"""Tables of the docs: classifiers that others trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read

RESULTS = Path(__file__).parent / "results"


def _outcomes() -> list[dict[str, Any]]:
    return [read(path) for path in sorted(RESULTS.glob("*.json"))]


def pretrained() -> list[list[str]]:
    """A line a classifier."""
    head = ["package", "tells", "recipe", "calibrated in", "sites", "cost", "clean flagged"]
    rows = [[*head, "natural change flagged, mean / worst", "scan: flagged, other verdicts, ms a file"]]
    for found in _outcomes():
        report, scan = found["report"], found["scan"]
        rates = {name: one["false_positive_rate"] for name, one in report["corruptions"].items()}
        worst = max(rates, key=lambda name: rates[name])
        rows.append(
            [
                found["package"],
                found["what"],
                found["recipe"],
                f"{found['calibration_seconds'] / 60:.0f} min",
                str(found["sites"]),
                f"{found['manifest']['figures']['cost']:.2f}",
                _percent(report["clean"]["false_positive_rate"]),
                f"{_percent(sum(rates.values()) / len(rates))} / {_percent(rates[worst])} ({worst})",
                f"{_percent(scan['flagged'])}, {scan['flips']}, {scan['milliseconds']:.0f}",
            ]
        )
    return rows


def pretrained_attacks() -> list[list[str]]:
    """A line an attack on a classifier: share that fools, AUROC and share flagged, as PNG and as JPEG."""
    rows = [["package", "attack", "", "fools", "AUROC", "flagged", "fools as JPEG 85", "AUROC", "flagged"]]
    for found in _outcomes():
        for name, one in found["saved"].items():
            if name != "clean":
                shown = [cell for treatment in ("png", "jpeg") for cell in _treated(one, treatment)]
                rows.append([found["package"].split(" ")[0], name, "seen" if one["seen"] else "unseen", *shown])
    return rows


def _treated(one: dict[str, Any], treatment: str) -> list[str]:
    fools = _percent(one[f"{treatment}_fools"])
    if f"{treatment}_auroc" not in one:
        return [fools, "", ""]
    return [fools, f"{one[f'{treatment}_auroc']:.3f}", _percent(one[f"{treatment}_flagged"])]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


TABLES = {"pretrained": pretrained, "pretrained-attacks": pretrained_attacks}
