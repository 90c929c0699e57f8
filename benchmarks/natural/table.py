"""Table of the docs: false alarms under mild change."""

from __future__ import annotations

from pathlib import Path

from benchmarks.program import read

RESULT = Path(__file__).parent / "results" / "benign.json"


def benign() -> list[list[str]]:
    """False alarms by recipe and corruption, at both mild levels."""
    recipes = read(RESULT)["recipes"]
    reports = {name: row["report"] for name, row in recipes.items()}
    kinds = list(dict.fromkeys(name.rpartition(" ")[0] for name in next(iter(reports.values()))["corruptions"]))
    rows = [["recipe", "AUROC seen / unseen", "plain", *kinds]]
    for name, report in reports.items():
        cells = [
            " / ".join(f"{report['corruptions'][f'{kind} {level}']['false_positive_rate']:.0%}" for level in (1, 2))
            for kind in kinds
        ]
        found = recipes[name]["summary"]
        areas = f"{found['auroc_seen']:.3f} / {found['auroc_unseen']:.3f}"
        rows.append([f"`{name}`", areas, f"{report['clean']['false_positive_rate']:.1%}", *cells])
    return rows


TABLES = {"benign": benign}
