"""The picture of cost against detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

LINES = {"auroc_seen": "seen attacks", "auroc_unseen": "unseen attacks", "auroc_cw": "C&W L2"}
"""What is drawn, and how it is called."""


def picture(outcomes: list[dict[str, Any]], target: Path) -> None:
    """Cost against detection, a panel a subject."""
    figure, panels = pyplot.subplots(1, len(outcomes), figsize=(4 * len(outcomes), 4), sharey=True, squeeze=False)
    for axes, outcome in zip(panels[0], outcomes, strict=True):
        found = [row["summary"] for row in outcome["budgets"]]
        for key, label in LINES.items():
            axes.plot([s["cost"] for s in found], [s[key] for s in found], marker="o", label=label)
        axes.set_title(outcome["what"].partition(";")[0], fontsize=10)
        axes.set_xlabel("gated forward / model alone")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("AUROC, successes against all clean images")
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(target, dpi=110, metadata={"Software": None})
