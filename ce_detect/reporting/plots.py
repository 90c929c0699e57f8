"""The plots of the reports, drawn from the plain data that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from ce_detect.artifacts.manifest import Manifest
from ce_detect.reporting.drawing import COLOURS, Plot, axes, percentages, svg
from ce_detect.reporting.words import percent

Plain = Mapping[str, Any]

HEIGHT = 200.0
"""Of a plot with two axes, in points."""

ROW, AROUND = 18.0, 52.0
"""Height of a row, and of what is around them, in points."""

LONGEST = 26
"""Letters of a name beside a row; the table has all of it."""

_SHARES = [0.0, 0.25, 0.5, 0.75, 1.0]


_KINDS: dict[str, tuple[str, str]] = {
    "clean": ("clean", "-"),
    "natural": ("naturally changed", "--"),
    "attacked": ("attacked", "-"),
}
"""Inputs of the histogram: word and line."""


def roc(found: Plain, threshold: float) -> Plot:
    """Detection against false alarms, of each attack and on average, with the chosen threshold on it."""
    alarms, chosen = found["false_positive_rate"], found["chosen"]
    at = alarms[chosen], found["mean"][chosen]
    names = list(found["detection_rate"])
    plot = Plot(
        "roc",
        "Detection against false alarms",
        "Each line is one choice of threshold after another (ROC). The dot is the calibrated one.",
        f"At the calibrated threshold {percent(at[0])} of clean images and {percent(at[1])} of successful attacks are "
        f"flagged, the mean over {len(names)} attacks.",
        ("clean images flagged", "mean", *names),
        [
            tuple(percent(share) for share in (alarm, mean, *rates))
            for alarm, mean, *rates in zip(alarms, found["mean"], *found["detection_rate"].values(), strict=True)
        ],
    )
    least = min([share for share in alarms if share > 0], default=1.0)
    ticks = [place for place in (0.001, 0.01, 0.1, 1.0) if place >= least * 0.999]
    with axes(HEIGHT, xscale="log", xlabel="clean images flagged", ylabel="attacks flagged") as drawn:
        for share in found["detection_rate"].values():
            drawn.plot(alarms, share, color=COLOURS["attacked"], linewidth=0.8, alpha=0.5)
        drawn.plot([], [], color=COLOURS["attacked"], linewidth=0.8, alpha=0.5, label="one attack")
        drawn.plot(alarms, found["mean"], color=COLOURS["attacked"], label="mean", gid="mean")
        drawn.plot(*at, "o", color=COLOURS["ink"], markersize=7, label="threshold", gid="threshold", clip_on=False)
        percentages(drawn.xaxis, ticks, (least, 1.0))
        percentages(drawn.yaxis, _SHARES, (0.0, 1.0))
        drawn.grid(axis="y")
        drawn.legend(loc="lower right")
        return replace(plot, svg=svg(plot.name, drawn, plot.alt))


def histogram(found: Plain, threshold: float) -> Plot:
    """Scores of clean, naturally changed and attacked inputs, with the threshold."""
    edges, kinds = found["edges"], [kind for kind in _KINDS if sum(found[kind])]
    shares = {kind: [count / sum(found[kind]) for count in found[kind]] for kind in kinds}
    right = {kind: sum(share for share, low in zip(shares[kind], edges, strict=False) if low > threshold)
             for kind in kinds}  # fmt: skip
    seen = ", ".join(f"{percent(share)} of {_KINDS[kind][0]}" for kind, share in right.items())
    plot = Plot(
        "scores",
        "Scores",
        "Right of the line an input is flagged. What lies outside is in the outermost bars.",
        f"In bars right of the threshold {threshold:.3g}: {seen} inputs.",
        ("score from", "to", *(_KINDS[kind][0] for kind in kinds)),
        [
            (f"{low:.3g}", f"{high:.3g}", *(str(found[kind][place]) for kind in kinds))
            for place, (low, high) in enumerate(pairwise(edges))
        ],
    )
    with axes(HEIGHT, xlabel="score", ylabel="share of inputs", xlim=(edges[0], edges[-1])) as drawn:
        for kind in kinds:
            label, line = _KINDS[kind]
            drawn.stairs(shares[kind], edges, color=COLOURS[kind], linestyle=line, linewidth=1.6, label=label, gid=kind)
        drawn.stairs(shares["clean"], edges, color=COLOURS["clean"], fill=True, alpha=0.2)
        drawn.axvline(threshold, color=COLOURS["ink"], linewidth=1.2, label="threshold", gid="threshold")
        drawn.set_yticks([])
        drawn.tick_params(length=0)
        drawn.figure.legend(loc="outside upper left", ncols=2)
        return replace(plot, svg=svg(plot.name, drawn, plot.alt))


def calibration(found: Plain, promised: float) -> Plot:
    """How often clean inputs have small p-values, beside how often they should."""
    p_values, shares = found["p_value"], found["share"]
    nearest = min(range(len(p_values)), key=lambda place: abs(p_values[place] - promised))
    share = shares[nearest]
    plot = Plot(
        "p-values",
        "Are p-values right?",
        "On the dashed line a p-value means what it says. The band is the 95 % interval; above it, flags are too many.",
        f"A p-value of at most {percent(p_values[nearest])} is had by {percent(share['value'])} of clean images, 95 % "
        f"interval {percent(share['low'])} to {percent(share['high'])}.",
        ("p-value of at most", "clean images", "95 % interval"),
        [
            (percent(at), percent(one["value"]), f"{percent(one['low'])} to {percent(one['high'])}")
            for at, one in zip(p_values, shares, strict=True)
        ],
    )
    low, high, value = ([one[name] for one in shares] for name in ("low", "high", "value"))
    least = min(p_values[0], 0.1)
    ticks = [place for place in (0.001, 0.01, 0.1, 1.0) if place >= least * 0.999]
    with axes(HEIGHT, xscale="log", yscale="log", xlabel="p-value of at most", ylabel="clean images") as drawn:
        drawn.fill_between(p_values, [max(end, least / 10) for end in low], high, color=COLOURS["clean"], alpha=0.2,
                           linewidth=0)  # fmt: skip
        drawn.plot([least, 1], [least, 1], "--", color=COLOURS["ink"], linewidth=1.2, label="as it says", gid="should")
        drawn.plot(p_values, value, color=COLOURS["clean"], label="measured", gid="measured")
        percentages(drawn.xaxis, ticks, (least, 1.0))
        percentages(drawn.yaxis, ticks, (least, 1.0))
        drawn.grid()
        drawn.legend(loc="lower right")
        return replace(plot, svg=svg(plot.name, drawn, plot.alt))


def rates(
    name: str,
    title: str,
    caption: str,
    found: Mapping[str, Plain],
    *,
    kind: str,
    head: str,
    promised: float | None = None,
) -> Plot | None:
    """A share with its interval for each name: a dot and a line; None where there is no share.

    Args:
        name: of the plot.
        title: in a few words.
        caption: how to read it.
        found: plain `ce_detect.evaluate.curves.Rate` by name.
        kind: what they are of, ``"clean"`` or ``"attacked"``.
        head: what the names are.
        promised: rate that is marked, and the axis ends where the intervals do; None for an axis up to all.
    """
    known = {label: one for label, one in found.items() if one["value"] is not None}
    if not known:
        return None
    plot = Plot(
        name,
        title,
        caption,
        f"{title}: " + "; ".join(f"{label} {percent(one['value'])}" for label, one in known.items()),
        (head, "share", "95 % interval", "images"),
        [
            (label, percent(one["value"]), f"{percent(one['low'])} to {percent(one['high'])}", str(one["n"]))
            for label, one in known.items()
        ],
    )
    with axes(AROUND + ROW * len(known)) as drawn:
        for place, one in enumerate(known.values()):
            drawn.plot([one["low"], one["high"]], [place, place], color=COLOURS[kind], gid=f"interval-{place}",
                       clip_on=False)  # fmt: skip
            drawn.plot(one["value"], place, "o", color=COLOURS[kind], markersize=6, gid=f"value-{place}", clip_on=False)
        _rows(drawn, list(known))
        most = 1.0 if promised is None else max(2 * promised, *(one["high"] for one in known.values()))
        percentages(drawn.xaxis, _SHARES if promised is None else None, (0.0, most))
        if promised is not None:
            drawn.axvline(promised, color=COLOURS["ink"], linewidth=1.2, linestyle="--", gid="promised")
        return replace(plot, svg=svg(plot.name, drawn, plot.alt))


def cost(manifest: Manifest) -> Plot:
    """Time of a gated forward, where it was measured, beside the model alone and the budget."""
    figures = manifest.figures
    batches = sorted(figures.onnxruntime_cost.items(), key=lambda pair: int(pair[0]))
    bars = {"PyTorch": figures.cost} | {f"ONNX Runtime, batch {size}": ratio for size, ratio in batches}
    plot = Plot(
        "cost",
        "Cost",
        "Time of the model with its gate. 1 is the model alone.",
        "; ".join(f"{where}: {ratio:.2f} times the model alone" for where, ratio in bars.items()),
        ("where", "times the model alone"),
        [(where, f"{ratio:.2f}") for where, ratio in bars.items()],
    )
    with axes(AROUND + 22 + ROW * len(bars), xlabel="times the model alone") as drawn:
        drawn.barh(range(len(bars)), list(bars.values()), height=0.55, color=COLOURS["clean"])
        drawn.axvline(1, color=COLOURS["ink"], linewidth=1.2, label="model alone", gid="alone")
        if manifest.budget is not None:
            drawn.axvline(manifest.budget, color=COLOURS["ink"], linewidth=1.2, linestyle="--", label="budget")
        _rows(drawn, list(bars))
        drawn.set_xlim(0, None)
        drawn.figure.legend(loc="outside upper left", ncols=2)
        return replace(plot, svg=svg(plot.name, drawn, plot.alt))


def _rows(drawn: Any, names: list[str]) -> None:
    short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
    drawn.set_yticks(range(len(short)), short)
    drawn.set_ylim(len(short) - 0.5, -0.5)
    drawn.spines["left"].set_visible(False)
    drawn.tick_params(length=0)
    drawn.grid(axis="x")


def radii(report: Plain) -> Plot:
    """Share of images that an attacker gets through with, against the bound on the perturbation."""
    levels, half = report["levels"], len(report["levels"]) // 2
    plot = Plot(
        "radii",
        "How large must a perturbation be?",
        "Share of images within each bound. The further apart the lines, the more the gate costs the attacker.",
        f"Within {255 * levels[half]:.3g}/255, {percent(report['fooled'][half])} of the images fool the classifier "
        f"alone, and {percent(report['evaded'][half])} fool classifier and gate.",
        ("bound", "in 1/255", "classifier alone", "classifier and gate"),
        [
            (str(level), f"{255 * level:.3g}", str(fooled), str(evaded))
            for level, fooled, evaded in zip(levels, report["fooled"], report["evaded"], strict=True)
        ],
    )
    low, high = levels[0], levels[-1]
    powers = [power for power in range(-16, 9) if low * 0.999 <= 2.0**power / 255 <= high * 1.001]
    powers = powers[:: -(-len(powers) // 5)]
    with axes(HEIGHT, xscale="log", xlabel="bound on the perturbation, in 1/255", ylabel="images") as drawn:
        drawn.plot(levels, report["fooled"], "--", color=COLOURS["ink"], label="classifier alone fooled", gid="fooled",
                   clip_on=False)  # fmt: skip
        drawn.plot(levels, report["evaded"], color=COLOURS["attacked"], label="classifier and gate", gid="evaded",
                   clip_on=False)  # fmt: skip
        percentages(drawn.xaxis, [], (low, high))
        drawn.set_xticks([2.0**power / 255 for power in powers], [f"{2.0**power:.2g}" for power in powers])
        percentages(drawn.yaxis, _SHARES, (0.0, 1.0))
        drawn.grid(axis="y")
        drawn.figure.legend(loc="outside upper left", ncols=1)
        return replace(plot, svg=svg(plot.name, drawn, plot.alt))
