"""The README's tables, from the results of the other programs.

python benchmarks/tables.py            # writes each table between its markers in README.md
python benchmarks/tables.py --check    # exits with 1 where one is not what the results say
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SUBJECTS = ("cifar10-resnet20", "cifar10-resnet32", "fashion", "pneumonia", "imagenet-lite0")
ADAPTIVE = {
    "unhardened": "ce-detect, budget 2.0", "larger": "ce-detect, budget 4.5",
    "cascade": "ce-detect, budget 1.5, cascade",
    "hardened-1": "3.0, hardened in 1 round", "hardened-3": "3.0, hardened in 3 rounds",
    "larger-1": "4.5, hardened in 1 round", "larger-1-longer": "the same, four times the steps",
    "larger-3": "4.5, hardened in 3 rounds",
    "known-seed": "random interventions, seed known",
    "secret-seed": "random interventions, seed secret", "ensemble": "three disjoint sets of interventions",
}  # fmt: skip
"""Rows of ours in words."""


def read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def detection() -> list[list[str]]:
    costs = {(row["subject"], row["budget"]): row for row in read("cost.json")["rows"]}
    rows = [
        [
            "images, model", "budget", "cost at batch 1 / 32", "seen", "unseen", "C&W L2", "TPR at 1 / 5 % FPR, seen",
            "realised FPR (5 % asked)", "clean-only: seen / unseen",
        ],
    ]  # fmt: skip
    for subject in SUBJECTS:
        found = read(f"detection-{subject}.json")
        for number, budget in enumerate(found["budgets"]):
            s, (low, high) = budget["summary"], budget["intervals_95"]["auroc unseen"]
            timed = costs.get((subject, budget["budget"]))
            by_batch = budget["cost_by_batch"]
            if timed is not None:
                by_batch = {batch: ratio["gate"] for batch, ratio in timed["ratio_by_batch"].items()}
            rows.append(
                [
                    "" if number else found["what"].partition(";")[0],
                    f"{budget['budget']:g}",
                    f"{by_batch['1']:.2f} / {by_batch['32']:.2f}" + ("" if timed else " *"),
                    f"{s['auroc_seen']:.3f}",
                    f"{s['auroc_unseen']:.3f} ({low:.3f}-{high:.3f})",
                    f"{s['auroc_cw']:.3f}",
                    f"{s['tpr_at_1_seen']:.2f} / {s['tpr_at_5_seen']:.2f}",
                    f"{s['false_positive_rate']:.3f}",
                    f"{s['auroc_seen_clean_only']:.3f} / {s['auroc_unseen_clean_only']:.3f}",
                ]
            )
    return rows


def benign() -> list[list[str]]:
    recipes = read("benign.json")["recipes"]
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


def interventions() -> list[list[str]]:
    rows = [["family", "best candidate", "cost", "gain over the free statistics", "adds to what was chosen", ""]]
    families = read("interventions.json")["families"]
    for family, best in sorted(families.items(), key=lambda item: -item[1]["gain"]):
        name = re.sub(r", (low|high|seed|channels|side|width|shape|mode|relative)=[^,)]*", "", best["name"])
        name = re.sub(r"\(shape=[^,)]*, ", "(", name)
        rows.append(
            [family, f"`{name}`", f"{best['cost']:.2f}", f"{best['gain']:+.4f}", f"{best['adds']:+.4f}", best["worth"]]
        )
    return rows


def serving() -> list[list[str]]:
    found = read("serving.json")["rows"]
    names = {"cifar10-resnet20": "ResNet-20", "imagenet-lite0": "EfficientNet-Lite0", "fashion": "CNN, Fashion-MNIST"}
    names["pneumonia"] = "CNN, PneumoniaMNIST"
    rows = [["budget", *names.values()]]
    for budget in sorted({row["budget"] for row in found}):
        by_subject = {row["subject"]: row["ratio_by_batch"] for row in found if row["budget"] == budget}
        cells = [" / ".join(f"{ratio:.2f}" for ratio in by_subject[subject].values()) for subject in names]
        rows.append([f"{budget:g}", *cells])
    return rows


def cascade() -> list[list[str]]:
    found = {row["subject"]: row for row in read("cascade.json")["rows"]}
    shares = ("0", "0.1", "1")
    rows = [
        [
            "images, model", "1.5 without: seen / unseen / all", "cascade: seen / unseen / all",
            "cleared: clean / attacked", *(f"cost, {float(share):.0%} attacked" for share in shares),
        ],
    ]  # fmt: skip
    for subject in (name for name in SUBJECTS if name in found):
        row, plain = found[subject], read(f"detection-{subject}.json")
        (without,) = (budget for budget in plain["budgets"] if budget["budget"] == 1.5)
        attacked = [share for name, share in row["cleared"].items() if name != "clean"]
        rows.append(
            [
                plain["what"].partition(";")[0],
                areas(without),
                areas(row),
                f"{row['cleared']['clean']:.0%} / {sum(attacked) / len(attacked):.1%}",
                *(" / ".join(f"{row['traffic'][share][batch]:.2f}" for batch in ("1", "8", "32")) for share in shares),
            ]
        )
    return rows


def areas(budget: dict[str, Any]) -> str:
    every = [attack["auroc_successes"] for attack in budget["report"]["attacks"].values()]
    found = (budget["summary"]["auroc_seen"], budget["summary"]["auroc_unseen"], sum(every) / len(every))
    return " / ".join(f"{area:.3f}" for area in found)


def peers() -> list[list[str]]:
    by_subject: dict[str, dict[str, Any]] = {
        subject: {path.stem: json.loads(path.read_text()) for path in (RESULTS / "compare" / subject).glob("*.json")}
        for subject in SUBJECTS
    }
    named = next(iter(by_subject.values()))
    titles = [by_subject[subject]["ours-2"]["subject_title"] for subject in SUBJECTS]
    rows = [["detector", "cost", *(f"{title}: seen / unseen / worst" for title in titles)]]

    def cell(found: dict[str, Any] | None) -> str:
        if found is None:
            return "not run"
        if "left_out" in found:
            return "too slow"
        return " / ".join(f"{found['summary'][key]:.3f}" for key in ("auroc_seen", "auroc_unseen", "auroc_worst"))

    order = sorted(named.values(), key=lambda found: -found["summary"]["auroc_all"])
    for found in order:
        cells = [cell(by_subject[subject].get(found["peer"])) for subject in SUBJECTS]
        rows.append([found["title"], f"{found['cost']:.2f}", *cells])
    return rows


def adaptive() -> list[list[str]]:
    found = read("adaptive-cifar10-resnet20.json")["rows"]
    rows = [
        [
            "detector",
            "images",
            "radius ratio (95 %)",
            "evaded within 0.5 / 1 / 2 of 255",
            "mean AUROC, ordinary attacks",
        ]
    ]
    for name in [*(name for name in ADAPTIVE if name in found), *sorted(found.keys() - ADAPTIVE.keys())]:
        row = found[name]
        ratio, share = row["ratio"], row["evaded_within"]
        rows.append(
            [
                ADAPTIVE.get(name, name),
                str(row["images"]),
                f"{ratio['value']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})",
                " / ".join(f"{share[f'{e}/255']:.2f}" for e in ("0.5", "1", "2")),
                f"{row['mean_auroc']:.4f}" if "mean_auroc" in row else "",
            ]
        )
    return rows


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    "detection": detection,
    "benign": benign,
    "interventions": interventions,
    "serving": serving,
    "cascade": cascade,
    "peers": peers,
    "adaptive": adaptive,
}


def markdown(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def written(text: str) -> str:
    """The README with every table anew."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no place for the table {name!r}")
        made = markdown(table())
        text = pattern.sub(lambda found, made=made: found[1] + made + found[2], text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = written(before)
    if options.check:
        sys.exit(0 if before == after else "README.md is not what the results say; run benchmarks/tables.py")
    readme.write_text(after)


if __name__ == "__main__":
    main()
