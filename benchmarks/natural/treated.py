"""Attacks that were saved, scaled or touched up: budget 2.0, 5 % asked.

    CE_DETECT_DATA=... python -m benchmarks.natural.treated
    CE_DETECT_DATA=... python -m benchmarks.natural.treated --only cifar10-resnet20 --seeds 0 1 2

Each attacked image is treated, and counts where it still fools the classifier. It is held against clean images that
were treated alike. One that no longer fools is harmless; how many of those are flagged stands apart, and counts
nowhere. Half of the treatments, about, never serve calibration. Writes ``results/treated-<subject>.json``.
"""

from __future__ import annotations

from typing import Any

from benchmarks.detection.measures import mean
from benchmarks.face import auroc, judge, share_above
from benchmarks.natural.gates import Judged, program
from benchmarks.natural.treatments import TREATMENTS

LEAST = 10
"""Attacked images that still fool, below which a cell is left out of the means: it would be noise."""


def main() -> None:
    program(__doc__, "treated", "treated attacks that still fool, against clean alike; 5 % asked", measured)


def measured(found: Judged) -> dict[str, Any]:
    """Every attack under every treatment."""
    gate = found.guard.gate
    clean_labels = judge(gate, found.fresh.x).label
    attacked = {name: twins.x for name, twins in found.attacked.items()}
    most = max(len(x) for x in attacked.values())
    cells: dict[str, dict[str, Any]] = {name: {} for name in attacked}
    for treatment in TREATMENTS:
        clean = judge(gate, treatment(found.fresh.x[:most]))
        for name, x in attacked.items():
            judged = judge(gate, treatment(x))
            fools = judged.label != clean_labels[found.attacked[name].index]
            scores, harmless = judged.score[fools], judged.score[~fools]
            cells[name][treatment.name] = {
                "served": treatment.served,
                "n": int(fools.sum()),
                "still_fools": round(float(fools.mean()), 4),
                "auroc": round(auroc(clean.score, scores), 4) if len(scores) else None,
                "flagged": round(share_above(scores, judged.threshold), 4) if len(scores) else None,
                "harmless_flagged": round(share_above(harmless, judged.threshold), 4) if len(harmless) else None,
                "clean_flagged": round(share_above(clean.score, clean.threshold), 4),
            }
    return {"summary": summary(cells), "attacks": cells}


def summary(cells: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means and worst over the cells with enough images."""
    every = [
        (attack, treatment, cell)
        for attack, row in cells.items()
        for treatment, cell in row.items()
        if cell["n"] >= LEAST
    ]
    worst = min(every, key=lambda one: one[2]["auroc"])
    found: dict[str, Any] = {
        "cells": len(every),
        "auroc": mean(cell["auroc"] for *_, cell in every),
        "flagged": mean(cell["flagged"] for *_, cell in every),
        "worst": worst[2]["auroc"],
        "worst_cell": f"{worst[0]}, {worst[1]}",
    }
    for half, served in (("served", True), ("held_out", False)):
        found[f"auroc_{half}"] = mean(cell["auroc"] for *_, cell in every if cell["served"] == served)
    return found


if __name__ == "__main__":
    main()
