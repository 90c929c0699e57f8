"""Tables of the docs: detection, interventions, cascade, few images."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.program import read
from benchmarks.subjects.settings import NAMES

RESULTS = Path(__file__).parent / "results"


def detection() -> list[list[str]]:
    """Detection by subject and budget, with the costs that were measured beside."""
    rows = [
        [
            "images, model", "budget", "cost at batch 1 / 32", "seen", "unseen", "C&W L2", "TPR at 1 / 5 % FPR, seen",
            "realised FPR (5 % asked)", "clean-only: seen / unseen",
        ],
    ]  # fmt: skip
    for subject in NAMES:
        found = read(RESULTS / f"detection-{subject}.json")
        for number, budget in enumerate(found["budgets"]):
            s, (low, high) = budget["summary"], budget["intervals_95"]["auroc unseen"]
            by_batch = budget["cost_by_batch"]
            rows.append(
                [
                    "" if number else found["what"].partition(";")[0],
                    f"{budget['budget']:g}",
                    f"{by_batch['1']:.2f} / {by_batch['32']:.2f}",
                    f"{s['auroc_seen']:.3f}",
                    f"{s['auroc_unseen']:.3f} ({low:.3f}-{high:.3f})",
                    f"{s['auroc_cw']:.3f}",
                    f"{s['tpr_at_1_seen']:.2f} / {s['tpr_at_5_seen']:.2f}",
                    f"{s['false_positive_rate']:.3f}",
                    f"{s['auroc_seen_clean_only']:.3f} / {s['auroc_unseen_clean_only']:.3f}",
                ]
            )
    return rows


def interventions(result: str = "interventions") -> list[list[str]]:
    """The best candidate of each family of interventions."""
    rows = [["family", "best candidate", "cost", "gain over the free statistics", "adds to what was chosen", ""]]
    families = read(RESULTS / f"{result}.json")["families"]
    for family, best in sorted(families.items(), key=lambda item: -item[1]["gain"]):
        name = re.sub(r", (low|high|seed|channels|side|width|shape|mode|relative)=[^,)]*", "", best["name"])
        name = re.sub(r"\(shape=[^,)]*, ", "(", name)
        rows.append(
            [family, f"`{name}`", f"{best['cost']:.2f}", f"{best['gain']:+.4f}", f"{best['adds']:+.4f}", best["worth"]]
        )
    return rows


def cascade() -> list[list[str]]:
    """A cascade at its budget."""
    found = {row["subject"]: row for row in read(RESULTS / "cascade.json")["rows"]}
    shares = ("0", "0.1", "1")
    rows = [
        [
            "images, model", "cascade: seen / unseen / all",
            "cleared: clean / attacked", *(f"cost, {float(share):.0%} attacked" for share in shares),
        ],
    ]  # fmt: skip
    for subject in (name for name in NAMES if name in found):
        row, plain = found[subject], read(RESULTS / f"detection-{subject}.json")
        attacked = [share for name, share in row["cleared"].items() if name != "clean"]
        rows.append(
            [
                plain["what"].partition(";")[0],
                areas(row),
                f"{row['cleared']['clean']:.0%} / {sum(attacked) / len(attacked):.1%}",
                *(" / ".join(f"{row['traffic'][share][batch]:.2f}" for batch in ("1", "8", "32")) for share in shares),
            ]
        )
    return rows


FORMS = {
    "split, marginal": "`marginal`: split", "no test, set": "*test* sets the threshold too",
    "no test, learned": "*test* is learned from", "folds": "5 folds", "folds, loose": "5 folds, promise of over twice",
    "linear split": "linear: split", "linear one left out": "linear: one left out",
    "split, pac": "`pac`: split", "no test, set, pac": "*test* sets the threshold too",
}  # fmt: skip
"""Forms of few images in words; marginal where nothing else is said."""


def few() -> list[list[str]]:
    """Share of attacks that is flagged, and the realised false-positive rate, against the number of clean images.

    A form that cannot flag anything with so few images counts as one that refuses them.
    """
    rows = [["asked", "images", *FORMS.values()]]
    for rate in ("0.05", "0.01"):
        for row in read(RESULTS / "few.json")["rows"]:
            names = [f"{form if form.endswith(('pac', 'marginal')) else f'{form}, marginal'} {rate}" for form in FORMS]
            cells = [
                f"{row['forms'][name]['detection_rate']:.2f} ({row['forms'][name]['false_positive_rate']:.3f})"
                if row["forms"].get(name, {}).get("detection_rate") else "-"
                for name in names
            ]  # fmt: skip
            rows.append([f"{float(rate):.0%}", f"{row['images']:,}", *cells])
    return rows


def areas(budget: dict[str, Any]) -> str:
    """Mean AUROC over seen, unseen and all attacks."""
    every = [attack["auroc_successes"] for attack in budget["report"]["attacks"].values()]
    found = (budget["summary"]["auroc_seen"], budget["summary"]["auroc_unseen"], sum(every) / len(every))
    return " / ".join(f"{area:.3f}" for area in found)


TABLES = {
    "detection": detection, "interventions": interventions,
    "interventions-pneumonia": partial(interventions, "interventions-pneumonia"), "cascade": cascade, "few": few,
}  # fmt: skip
