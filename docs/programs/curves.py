"""Draw how often classifiers are right under attack, by the size of the attack: curves for the page of counterfactuals.

    python -m docs.programs.curves   # draws docs/pictures/resilience.png from the results of the benchmark

A line is the mean over the seeds. Its bars reach from the lowest to the highest end of their intervals of 95 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.counterfactual.table import RADII, SUBJECTS, of_kinds

PICTURE = Path(__file__).parents[1] / "pictures" / "resilience.png"

DPI = 110

KINDS = {
    "K+1, 1500 steps": ("K+1", "#0077bb", "-"),
    "K+1 augmented, 1500 steps": ("K+1, augmented", "#33bbee", "--"),
    "plain, equally right": ("plain", "#bbbbbb", "-"),
    "plain, noise, equally right": ("plain, with noise", "#777777", ":"),
    "adversarial, equally right": ("adversarial at 8/255", "#cc3311", "-"),
    "adversarial at 4, equally right": ("adversarial at 4/255", "#ee7733", "--"),
}
"""Kinds that are drawn, as far as they were measured: their name, colour and line."""

APART = 0.05
"""Between two lines at the same radius, so that their bars can be told apart."""

AXIS = "radius of PGD, of 255"


def main() -> None:
    draw({subject: of_kinds(subject) for subject in SUBJECTS}).savefig(PICTURE, dpi=DPI, metadata={"Software": None})


def draw(results: dict[str, dict[str, list[dict[str, Any]]]]) -> Figure:
    """A panel for each subject.

    Args:
        results: rows of each seed, by subject and kind, see `benchmarks.counterfactual.table.of_kinds`.
    """
    figure, panels = pyplot.subplots(1, len(results), figsize=(9, 4), sharey=True, layout="constrained", squeeze=False)
    for axes, (subject, kinds) in zip(panels[0], results.items(), strict=True):
        for place, (kind, (name, colour, line)) in enumerate(KINDS.items()):
            if kind in kinds:
                _curve(axes, kinds[kind], APART * (place - len(KINDS) // 2), label=name, color=colour, linestyle=line)
        axes.set_title(SUBJECTS[subject], fontsize=10)
        axes.set(xlabel=AXIS, ylim=(-0.02, 1), xticks=range(len(RADII) + 1), xticklabels=["0", *map(str, RADII)])
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("share of images that stay right")
    handles, names = panels[0][-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _curve(axes: Any, seeds: list[dict[str, Any]], shift: float, **style: Any) -> None:
    rows = ["clean, attacked ones", *(f"pgd {radius}" for radius in RADII)]
    means = [sum(of[row]["value"] for of in seeds) / len(seeds) for row in rows]
    below = [mean - min(of[row]["interval"][0] for of in seeds) for mean, row in zip(means, rows, strict=True)]
    above = [max(of[row]["interval"][1] for of in seeds) - mean for mean, row in zip(means, rows, strict=True)]
    places = [place + shift for place in range(len(rows))]
    axes.errorbar(places, means, (below, above), linewidth=1.6, elinewidth=0.7, capsize=1.5, **style)


if __name__ == "__main__":
    main()
