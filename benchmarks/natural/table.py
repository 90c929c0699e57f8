"""Tables of the docs: natural change, controls, treated attacks, and which part of the evidence is causal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.natural.gates import RESULTS
from benchmarks.program import read
from benchmarks.subjects.settings import NAMES

MATRIX = "cifar10-resnet20"
"""The subject whose treated attacks are shown cell by cell."""


def natural() -> list[list[str]]:
    """Each subject: false alarms, in both halves of the kinds, and whether the mixture keeps its promise."""
    head = ["subject", "seeds", "plain", "learned kinds: mean / worst", "other kinds: mean / worst"]
    rows = [[*head, "kinds above 10 %", "re-splits of the mixture within 5 %", "misclassified / correct flagged"]]
    for name, found in _results("natural"):
        summaries = [row["summary"] for row in found]
        over = sorted({kind for one in summaries for half in ("learned", "held_out") for kind in one[half]["above_10"]})
        rows.append(
            [
                name,
                str(len(found)),
                _percent(row["plain"] for row in found),
                *(
                    f"{_percent(one[half]['mean'] for one in summaries)} / "
                    f"{_percent((one[half]['worst'] for one in summaries), max)} ({summaries[0][half]['worst_kind']})"
                    for half in ("learned", "held_out")
                ),
                ", ".join(over) or "none",
                _percent(row["resplits_of_mixture"]["share_within_target"] for row in found),
                " / ".join(_percent(row[part] for row in found) for part in ("misclassified", "correct")),
            ]
        )
    return rows


def kinds() -> list[list[str]]:
    """Share flagged by kind, at both severities, mean over the seeds."""
    found = dict(_results("natural"))
    names = list(found)
    rows = [["kind", "calibrates", *names]]
    first = next(iter(found.values()))[0]["kinds"]
    for kind in dict.fromkeys(name.rpartition(" ")[0] for name in first):
        cells = [
            " / ".join(
                _percent(row["kinds"][f"{kind} {severity}"]["flagged"] for row in found[name]) for severity in (1, 2)
            )
            for name in names
        ]
        rows.append([kind, "yes" if first[f"{kind} 1"]["learned"] else "no", *cells])
    return rows


def controls() -> list[list[str]]:
    """Each attack of each subject against clean images, against natural change, and against its controls."""
    rows = [
        ["subject", "attack", "AUROC against clean", "and natural change", "against shuffled", "shuffled flagged",
         "uniform noise flagged", "signs flagged"]
    ]  # fmt: skip
    for name, found in _results("natural"):
        for attack in found[0]["attacks"]:
            some = [row["attacks"][attack] for row in found]
            areas = ("auroc", "auroc_against_clean_and_natural", "auroc_against_shuffled")
            flagged = ("shuffled_flagged", "uniform_flagged", "signs_flagged")
            rows.append(
                [
                    name,
                    attack,
                    *(_area(one[key] for one in some) for key in areas),
                    *(_percent(one[key] for one in some) for key in flagged),
                ]
            )
    return rows


def treated() -> list[list[str]]:
    """Each subject: treated attacks that still fool."""
    rows = [["subject", "seeds", "mean AUROC", "treatments that calibrate", "others", "worst cell", "flagged"]]
    for name, found in _results("treated"):
        some = [row["summary"] for row in found]
        worst = min(some, key=lambda one: one["worst"])
        means = (_area(one[key] for one in some) for key in ("auroc", "auroc_served", "auroc_held_out"))
        flagged = _percent(one["flagged"] for one in some)
        rows.append([name, str(len(found)), *means, f"{worst['worst']:.3f} ({worst['worst_cell']})", flagged])
    return rows


def treated_cells() -> list[list[str]]:
    """One subject, cell by cell: share that still fools, AUROC, share flagged; mean over the seeds."""
    found = dict(_results("treated")).get(MATRIX)
    if found is None:
        return [["treatment", "calibrates"]]
    attacks = found[0]["attacks"]
    rows = [["treatment", "calibrates", *attacks]]
    for treatment, cell in next(iter(attacks.values())).items():
        cells = []
        for attack in attacks:
            some = [row["attacks"][attack][treatment] for row in found]
            areas = [one["auroc"] for one in some if one["auroc"] is not None]
            fools = _percent(one["still_fools"] for one in some)
            flagged = _percent(one["flagged"] for one in some if one["flagged"] is not None) if areas else "-"
            cells.append(f"{fools} / {_area(areas) if areas else '-'} / {flagged}")
        rows.append([treatment, "yes" if cell["served"] else "no", *cells])
    return rows


def on_purpose() -> list[list[str]]:
    """An attacker who attacks through a treatment."""
    rows = [["subject", "attacks through", "judged after", "still fools", "AUROC", "flagged"]]
    for name, found in _results("on-purpose"):
        for row in found[0]["cells"]:
            figures = [
                "-" if row[key] is None else show([row[key]]) for key, show in (("auroc", _area), ("flagged", _percent))
            ]
            rows.append([name, row["expected"], row["treatment"], _percent([row["still_fools"]]), *figures])
    return rows


def ablation() -> list[list[str]]:
    """What each part of the evidence does alone, and what is lost without it."""
    rows = [
        ["subject", "evidence", "features", "AUROC", "found at 5 %", "against shuffled controls",
         "against natural change", "natural change flagged at 5 %"]
    ]  # fmt: skip
    for name, found in _results("ablation"):
        for label, row in found[0]["parts"].items():
            rows.append(
                [
                    name,
                    label,
                    str(row["features"]),
                    _area([row["auroc"]]),
                    _percent([row["tpr_at_5"]]),
                    _area([row["auroc_against_control"]]),
                    _area([row["auroc_against_natural"]]),
                    _percent([row["natural_flagged_at_5"]]),
                ]
            )
    return rows


def _results(program: str) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """Rows by seed of each subject that was measured."""
    for name in NAMES:
        path = RESULTS / f"{program}-{name}.json"
        if path.exists():
            yield name, read(path)["rows"]


def _flagged(rows: list[dict[str, Any]], kind: str) -> str:
    return _percent(row["kinds"][kind]["flagged"] for row in rows)


def _percent(values: Iterable[float | None], of: Callable[[list[float]], Any] = np.mean) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * float(of(known)):.1f}%" if known else "-"


def _area(values: Iterable[float]) -> str:
    """Mean over the seeds; with the least and the largest where there are several."""
    known = list(values)
    spread = f" ({min(known):.3f}-{max(known):.3f})" if len(known) > 1 else ""
    return f"{float(np.mean(known)):.3f}{spread}"


TABLES = {
    "natural": natural,
    "natural-kinds": kinds,
    "controls": controls,
    "treated": treated,
    "treated-cells": treated_cells,
    "on-purpose": on_purpose,
    "ablation": ablation,
}
