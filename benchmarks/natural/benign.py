"""False alarms under benign change, and what it costs to have fewer: CIFAR-10, ResNet-20, budget 2.0.

    CE_DETECT_DATA=... python -m benchmarks.natural.benign

Calibrates with the recipes ``default``, ``benign`` and ``clean-only`` and judges the images that ``detection.py``
judges: plain, under each mild corruption, and attacked. Writes ``results/benign.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.detection.measures import mean
from benchmarks.face import MILD, evaluate
from benchmarks.machine import environment
from benchmarks.program import markdown, parser, progress, quiet, write
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Recipe

RESULT = Path(__file__).parent / "results" / "benign.json"
SUBJECT = SUBJECTS["cifar10-resnet20"]
BUDGET = 2.0
RECIPES = ("default", "benign", "clean-only")


def main() -> None:
    parser(__doc__).parse_args()
    quiet()
    first, fresh = SUBJECT.split()
    guard = SUBJECT.guard(first.pixels.shape[1:])
    attacked = SUBJECT.attack(guard, fresh, progress)
    seen = [attack.name for attack in Recipe.load(SUBJECT.recipe).attacks]
    rows = {}
    for name in RECIPES:
        guard.calibrate(first, recipe=name, fpr=FPR, budget=BUDGET, seed=SEED, progress=progress)
        found = evaluate(
            guard.gate, fresh.pixels, fresh.y, attacked, target=FPR, corruptions=MILD, seed=SEED + 1
        ).to_dict()
        signature = guard.manifest["signature"]
        rows[name] = {
            "interventions": signature["names"],
            "sites": signature["sites"],
            "features": signature["features"],
            "cost": guard.manifest["figures"]["cost"],
            "summary": summary(found, seen, [attack for attack in attacked if attack not in seen]),
            "report": found,
        }
        print(name, rows[name]["summary"], flush=True)
    outcome = {
        "what": "false alarms under mild corruptions at a 5 % target, and AUROC over successful attacks",
        "environment": environment(),
        "seed": SEED,
        "budget": BUDGET,
        "n": {"calibration": len(first), "clean": len(fresh)},
        "recipes": rows,
    }
    write(RESULT, outcome)
    show(rows)


def summary(found: dict[str, Any], seen: list[str], unseen: list[str]) -> dict[str, Any]:
    """Means over seen and unseen attacks, of the detector and of the clean-only one beside it, and false alarms."""
    attacks = found["attacks"]
    beside = {name: figures["clean_only"] for name, figures in attacks.items() if figures["clean_only"] is not None}
    by_corruption = {name: figures["false_positive_rate"] for name, figures in found["corruptions"].items()}
    means = {"auroc_seen": (attacks, seen), "auroc_unseen": (attacks, unseen)}
    if beside:
        means |= {"clean_only_auroc_seen": (beside, seen), "clean_only_auroc_unseen": (beside, unseen)}
    return {
        **{key: mean(table[name]["auroc_successes"] for name in names) for key, (table, names) in means.items()},
        "tpr_at_5_seen": mean(attacks[name]["tpr_at_5"] for name in seen),
        "tpr_at_5_unseen": mean(attacks[name]["tpr_at_5"] for name in unseen),
        "false_positive_rate": round(found["clean"]["false_positive_rate"], 4),
        "false_positive_rate_under_corruption": mean(by_corruption.values()),
        "worst_corruption": max(by_corruption, key=lambda name: by_corruption[name]),
    }


def show(rows: dict[str, Any]) -> None:
    """Print one row a corruption."""
    reports = [row["report"] for row in rows.values()]
    lines = [["false alarms", *rows], ["plain", *(f"{r['clean']['false_positive_rate']:.1%}" for r in reports)]]
    for name in reports[0]["corruptions"]:
        lines.append([name, *(f"{r['corruptions'][name]['false_positive_rate']:.1%}" for r in reports)])
    print(markdown(lines))


if __name__ == "__main__":
    main()
