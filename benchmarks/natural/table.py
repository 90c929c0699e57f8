"""Tables of the docs: natural change, controls, treated attacks, and which part of the evidence is causal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.natural.gates import RESULTS
from benchmarks.program import read
from benchmarks.subjects.settings import FILES
from ce_detect import Recipe

MATRIX = "cifar10-resnet20"
"""The subject whose treated attacks are shown cell by cell."""

KNOWN = frozenset(attack.name for recipe in ("default", "large") for attack in Recipe.load(recipe).attacks)
"""Attacks that calibration uses, on small images or on large ones."""

LARGE = "imagenet-lite0"
"""Subjects whose name begins so may have an attack as near its shuffled control as `APART_LARGE`."""

APART, APART_LARGE = 0.99, 0.97
"""AUROC of an attack against its shuffled control that was asked for."""

FLOOR, GOAL = 0.80, 0.92
"""AUROC of the worst cell of treated attacks: what was asked for at least, and what was hoped for."""

LEAST = 10
"""Attacked images that still fool, below which a cell does not count; as in `benchmarks.natural.treated`."""


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
    rows = [
        ["subject", "seeds", "mean AUROC", "treatments that calibrate", "others", "worst cell", "flagged",
         "those that no longer fool: flagged"]
    ]  # fmt: skip
    for name, found in _results("treated"):
        some = [row["summary"] for row in found]
        worst = min(some, key=lambda one: one["worst"])
        means = (_area(one[key] for one in some) for key in ("auroc", "auroc_served", "auroc_held_out"))
        flagged = _percent(one["flagged"] for one in some)
        cell = f"{worst['worst']:.3f} ({worst['worst_cell']})"
        rows.append([name, str(len(found)), *means, cell, flagged, _percent(map(_harmless, found))])
    return rows


def hardened() -> list[list[str]]:
    """A gate with a hardened copy beside one without, on treated attacks."""
    head = ["gate", "mean AUROC", "treatments that calibrate", "others", "worst cell", "flagged"]
    rows = [[*head, "PGD 8/255 after JPEG 85 / 75 / 60: AUROC", "flagged there"]]
    path = RESULTS / f"hardened-{MATRIX}.json"
    for found in read(path)["rows"] if path.exists() else []:
        of, strong = found["summary"], [found["attacks"]["pgd 8/255"][f"JPEG {quality}"] for quality in (85, 75, 60)]
        means = (f"{of[key]:.3f}" for key in ("auroc", "auroc_served", "auroc_held_out"))
        worst = f"{of['worst']:.3f} ({of['worst_cell']})"
        areas = " / ".join(f"{cell['auroc']:.3f}" for cell in strong)
        flagged = " / ".join(_percent([cell["flagged"]]) for cell in strong)
        rows.append([found["gate"], *means, worst, _percent([of["flagged"]]), areas, flagged])
    return rows


def asked() -> list[list[str]]:
    """Each subject: what was asked for of all attacks together, and counts of what stays below."""
    treated = dict(_results("treated"))
    rows = [
        ["subject", "AUROC against clean and natural change: seen / unseen / worst",
         "attacks told from their shuffled control", f"treated cells below {FLOOR:.2f} / {GOAL:.2f}"]
    ]  # fmt: skip
    for name, found in _results("natural"):
        areas = _mean_over(found, "auroc_against_clean_and_natural")
        parts = [[area for attack, area in areas.items() if (attack in KNOWN) == seen] for seen in (True, False)]
        told = list(_mean_over(found, "auroc_against_shuffled").values())
        least = APART_LARGE if name.startswith(LARGE) else APART
        rows.append(
            [
                name,
                " / ".join(f"{area:.3f}" for area in (*map(np.mean, parts), min(areas.values()))),
                f"{sum(round(area, 3) >= least for area in told)} of {len(told)} ({least:.2f})",
                _below(treated[name]) if name in treated else "-",
            ]
        )
    return rows


def _mean_over(rows: list[dict[str, Any]], key: str) -> dict[str, float]:
    """A figure of each attack, mean over the seeds."""
    return {attack: float(np.mean([row["attacks"][attack][key] for row in rows])) for attack in rows[0]["attacks"]}


def _below(rows: list[dict[str, Any]]) -> str:
    """How many cells, mean over the seeds, lie below the floor and below the goal; and how many there are."""
    areas = []
    for attack, cells in rows[0]["attacks"].items():
        for treatment in cells:
            some = [row["attacks"][attack][treatment] for row in rows]
            if all(one["n"] >= LEAST for one in some):
                areas.append(np.mean([one["auroc"] for one in some]))
    below = (sum(round(area, 3) < least for area in areas) for least in (FLOOR, GOAL))
    return " / ".join(map(str, below)) + f" of {len(areas)}"


def _harmless(row: dict[str, Any]) -> float | None:
    """Share flagged of all treated attacks that no longer fool; None where each still does."""
    flagged = count = 0.0
    for cells in row["attacks"].values():
        attacked = max(round(one["n"] / one["still_fools"]) for one in cells.values() if one["n"])
        for one in cells.values():
            if one["harmless_flagged"] is not None:
                flagged += one["harmless_flagged"] * (attacked - one["n"])
                count += attacked - one["n"]
    return flagged / count if count else None


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
    for name in FILES:
        path = RESULTS / f"{program}-{name}.json"
        if path.exists():
            yield name, read(path)["rows"]


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
    "asked": asked,
    "treated-hardened": hardened,
    "on-purpose": on_purpose,
    "ablation": ablation,
}
