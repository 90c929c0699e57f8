"""The picture of every method on every subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def picture(outcomes: Sequence[dict[str, Any]], target: Path) -> None:
    """Cost against mean AUROC, a panel a subject, with every method on it."""
    subjects = list(dict.fromkeys(outcome["subject_title"] for outcome in outcomes))
    figure, panels = pyplot.subplots(1, len(subjects), figsize=(6 * len(subjects), 5), squeeze=False)
    for axes, subject in zip(panels[0], subjects, strict=True):
        rows = [outcome for outcome in outcomes if outcome["subject_title"] == subject]
        mine = sorted((row for row in rows if row["peer"].startswith("ours")), key=lambda row: row["cost"])
        axes.plot([r["cost"] for r in mine], [r["summary"]["auroc_all"] for r in mine], "o-", label="ce-detect")
        for row in rows:
            if row not in mine:
                axes.plot(row["cost"], row["summary"]["auroc_all"], "x", color="black")
            label = row["peer"].removeprefix("ours-")
            axes.annotate(
                label, (row["cost"], row["summary"]["auroc_all"]), fontsize=7, xytext=(3, 3), textcoords="offset points"
            )
        axes.set_xscale("log")
        axes.set_title(subject, fontsize=10)
        axes.set_xlabel("time of a judged forward / model alone")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("mean AUROC over attacks, successes against all clean images")
    figure.tight_layout()
    figure.savefig(target, dpi=110, metadata={"Software": None})
