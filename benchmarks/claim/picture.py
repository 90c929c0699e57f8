"""Draw the figure of ``docs/explanations/claim.md`` from the results.

    python -m benchmarks.claim.picture

One dot is one attack on one data set under one intervention: how far the target effect lies from that of the same
images clean. Attacked images in one colour, their shuffled perturbation and natural change in two others.
"""

from __future__ import annotations

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.claim.claim import RESULTS
from benchmarks.claim.findings import Cell, findings
from benchmarks.claim.interventions import FAMILIES
from benchmarks.program import parser

SHOWN = "target effect"

COLOURS = {
    ("natural", "clean"): ("natural change", "#4477aa"),
    ("shuffled", "clean"): ("the attack's own noise, shuffled", "#888888"),
    ("attacked", "clean"): ("attacked", "#cc3311"),
}

WORDS = {
    "resolution": "see it smaller",
    "geometry": "mirror it, move it",
    "photometric": "blur it, fewer levels",
    "noise": "add noise",
    "masking": "hide parts of it",
    "latent": "set channels",
    "concept": "take a concept away",
}
"""Families for somebody who does not know ours."""


def main() -> None:
    parser(__doc__).parse_args()
    picture([cell for cell in findings() if cell.effect == SHOWN])


def picture(cells: list[Cell]) -> None:
    """One row a family, three colours in it; a bar marks the median."""
    figure, axes = pyplot.subplots(figsize=(8, 5.2))
    drawn = np.random.default_rng(0)
    for row, family in enumerate(FAMILIES):
        own = [cell for cell in cells if cell.family == family]
        for place, (pair, (_, colour)) in enumerate(COLOURS.items()):
            deltas = np.array([cell.delta[pair] for cell in own])
            height = row + 0.25 * (1 - place)
            axes.scatter(
                deltas, height + drawn.uniform(-0.07, 0.07, len(deltas)), s=16, color=colour, alpha=0.55, linewidths=0
            )
            axes.vlines(np.median(deltas), height - 0.11, height + 0.11, color=colour, linewidth=3)
    for label, colour in COLOURS.values():
        axes.scatter([], [], color=colour, label=label)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(FAMILIES)), [f"{family}\n{WORDS[family]}" for family in FAMILIES])
    axes.invert_yaxis()
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel(
        "how the fall of the decision compares with that of the same images clean (Cliff's delta)\n"
        "-1: always smaller       0: no difference       +1: always larger"
    )
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncol=3, frameon=False)
    figure.tight_layout()
    figure.savefig(RESULTS / "claim.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
