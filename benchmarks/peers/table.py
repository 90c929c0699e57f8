"""Table of the docs: our detectors beside methods from the literature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read
from benchmarks.subjects.settings import NAMES

FOLDER = Path(__file__).parent / "results" / "compare"
NATURAL = FOLDER.parent / "natural.json"


def peers() -> list[list[str]]:
    """Every method on every subject, the best on the first one first."""
    by_subject: dict[str, dict[str, Any]] = {
        subject: {path.stem: read(path) for path in (FOLDER / subject).glob("*.json")}
        for subject in NAMES
        if (FOLDER / subject).is_dir()
    }
    named = next(iter(by_subject.values()))
    titles = [results["ours-2"]["subject_title"] for results in by_subject.values()]
    rows = [["detector", "cost", *(f"{title}: seen / unseen / worst" for title in titles)]]

    order = sorted(named.values(), key=lambda found: -found["summary"]["auroc_all"])
    for found in order:
        cells = [cell(results.get(found["peer"])) for results in by_subject.values()]
        rows.append([found["title"], f"{found['cost']:.2f}", *cells])
    return rows


def cell(found: dict[str, Any] | None) -> str:
    """One method on one subject."""
    if found is None:
        return "not run"
    if "left_out" in found:
        return "too slow"
    return " / ".join(f"{found['summary'][key]:.3f}" for key in ("auroc_seen", "auroc_unseen", "auroc_worst"))


def on_natural() -> list[list[str]]:
    """The best peers on natural change, on controls, and on saved attacks."""
    head = ["detector", "images a kind", "learned kinds: mean / worst flagged", "other kinds: mean / worst flagged"]
    rows = [[*head, "controls flagged", "AUROC, attack against control", "AUROC, treated: mean / worst"]]
    found = read(NATURAL)["rows"] if NATURAL.exists() else {}
    for row in found.values():
        halves = [row["natural"][half] for half in ("learned", "held_out")]
        controls, treated = row["controls"], row["treated"]
        cells = ["no threshold" if half is None else f"{half['mean']:.1%} / {half['worst']:.1%}" for half in halves]
        flagged = "no threshold" if controls["flagged"] is None else f"{controls['flagged']:.1%}"
        areas = f"{controls['auroc']:.3f}", f"{treated['auroc']:.3f} / {treated['worst']:.3f}"
        rows.append([row["title"], str(row["n"]["natural"]), *cells, flagged, *areas])
    return rows


TABLES = {"peers": peers, "peers-natural": on_natural}
