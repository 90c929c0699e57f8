"""False alarms under benign change, and what it costs to have fewer: CIFAR-10, ResNet-20, budget 2.0.

    CE_DETECT_DATA=... python benchmarks/benign.py

Calibrates on the first 2,800 test images with the recipes ``default``, ``benign`` and ``clean-only``, and judges the
last 1,200 as ``detection.py`` does: plain, under each mild corruption, and attacked. Writes ``results/benign.json``.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from detection import CALIBRATION_IMAGES, FPR, RESULTS, UNSEEN, attack, environment, mean, progress
from networks import cifar10_resnet20, data_folder

from ce_detect import DetectedModel, Recipe, load_data
from ce_detect.corruptions import MILD
from ce_detect.evaluate import report

BUDGET = 2.0
RECIPES = ("default", "benign", "clean-only")
SEED = 0


def main() -> None:
    warnings.filterwarnings("ignore", module="art")
    images = load_data(str(data_folder() / "cifar10.npz"), split="test")
    first = images.subset(np.arange(CALIBRATION_IMAGES))
    fresh = images.subset(np.arange(CALIBRATION_IMAGES, len(images)))
    guard = DetectedModel(cifar10_resnet20(), input_shape=(3, 32, 32), bounds=(0.0, 1.0))
    recipe = Recipe.load("default")
    attacked = attack(guard, fresh, recipe, SEED)
    rows = {}
    for name in RECIPES:
        guard.calibrate(first.x, first.y, recipe=name, fpr=FPR, budget=BUDGET, seed=SEED, progress=progress)
        found = report.evaluate(
            guard.gate, fresh.x, fresh.y, attacked, target=FPR, corruptions=MILD, seed=SEED + 1
        ).to_dict()
        rows[name] = {
            "interventions": guard.manifest["signature"]["names"],
            "sites": guard.manifest["signature"]["sites"],
            "features": guard.manifest["signature"]["features"],
            "cost": guard.manifest["figures"]["cost"],
            "summary": summary(found, [a.name for a in recipe.attacks], [a.name for a, _ in UNSEEN]),
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
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "benign.json").write_text(json.dumps(outcome, indent=1) + "\n")
    table(rows)


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


def table(rows: dict[str, Any]) -> None:
    reports = [row["report"] for row in rows.values()]
    print("\n| false alarms | " + " | ".join(rows) + " |\n" + "|---" * (len(rows) + 1) + "|")
    print("| plain | " + " | ".join(f"{r['clean']['false_positive_rate']:.1%}" for r in reports) + " |")
    for name in reports[0]["corruptions"]:
        cells = [f"{r['corruptions'][name]['false_positive_rate']:.1%}" for r in reports]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
