"""Table of the docs: our detectors beside methods from the literature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read
from benchmarks.subjects.settings import NAMES

FOLDER = Path(__file__).parent / "results" / "compare"


def peers() -> list[list[str]]:
    """Every method on every subject, the best on the first one first."""
    by_subject: dict[str, dict[str, Any]] = {
        subject: {path.stem: read(path) for path in (FOLDER / subject).glob("*.json")} for subject in NAMES
    }
    named = next(iter(by_subject.values()))
    titles = [by_subject[subject]["ours-2"]["subject_title"] for subject in NAMES]
    rows = [["detector", "cost", *(f"{title}: seen / unseen / worst" for title in titles)]]

    order = sorted(named.values(), key=lambda found: -found["summary"]["auroc_all"])
    for found in order:
        cells = [cell(by_subject[subject].get(found["peer"])) for subject in NAMES]
        rows.append([found["title"], f"{found['cost']:.2f}", *cells])
    return rows


def cell(found: dict[str, Any] | None) -> str:
    """One method on one subject."""
    if found is None:
        return "not run"
    if "left_out" in found:
        return "too slow"
    return " / ".join(f"{found['summary'][key]:.3f}" for key in ("auroc_seen", "auroc_unseen", "auroc_worst"))


TABLES = {"peers": peers}
