"""What was asked for beside what is reached: counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.natural import table

PGD, MIM = "pgd 8/255", "mim 4/255"
"""An attack that calibration uses, and one that it does not."""


def left(folder: Path, program: str, rows: list[dict[str, Any]]) -> None:
    """Results of one subject."""
    (folder / f"{program}-fashion.json").write_text(json.dumps({"rows": rows}))


def cell(n: int, auroc: float, *, fools: float, harmless: float | None) -> dict[str, Any]:
    """One attack under one treatment."""
    return {"served": True, "n": n, "still_fools": fools, "auroc": auroc, "flagged": 0.5, "harmless_flagged": harmless}


def test_what_was_asked_counts_over_the_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means over two seeds; figures count as they are shown, with three digits; small cells do not count."""
    monkeypatch.setattr(table, "RESULTS", tmp_path)

    def seed(known: float, other: float) -> dict[str, Any]:
        area = "auroc_against_clean_and_natural"
        told = {"auroc_against_shuffled": 0.9896}
        return {"attacks": {PGD: {area: known, **told}, MIM: {area: other, "auroc_against_shuffled": 0.9}}}

    left(tmp_path, "natural", [seed(0.99, 0.9), seed(0.97, 0.8)])
    assert table.asked()[1] == ["fashion", "0.980 / 0.850 / 0.850", "1 of 2 (0.99)", "-"]
    cells = {
        "PNG": cell(20, 0.7, fools=1.0, harmless=None),
        "flip": cell(15, 0.9, fools=0.75, harmless=0.2),
        "crop": cell(9, 0.1, fools=0.45, harmless=1.0),
    }
    left(tmp_path, "treated", [{"attacks": {PGD: cells}}])
    assert table.asked()[1][-1] == "1 / 2 of 2"


def test_attacks_that_no_longer_fool_are_counted_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By image: 1 of 5 and 2 of 10 are 3 of 15; where all still fool there is nothing to count."""
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    every = cell(20, 0.9, fools=1.0, harmless=None)
    some = {"a": every, "b": cell(15, 0.9, fools=0.75, harmless=0.2), "c": cell(10, 0.9, fools=0.5, harmless=0.2)}
    summary = {"auroc": 0.9, "auroc_served": 0.9, "auroc_held_out": 0.9, "worst": 0.9, "worst_cell": "", "flagged": 0.5}
    left(tmp_path, "treated", [{"summary": summary, "attacks": {PGD: some}}])
    assert table.treated()[1][-1] == "20.0%"
    left(tmp_path, "treated", [{"summary": summary, "attacks": {PGD: {"a": every}}}])
    assert table.treated()[1][-1] == "-"
