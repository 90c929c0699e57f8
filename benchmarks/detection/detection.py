"""Detection at several budgets, on attacks that calibration saw and on others.

    CE_DETECT_DATA=... python -m benchmarks.detection.detection                  # CIFAR-10, ResNet-20
    CE_DETECT_DATA=... python -m benchmarks.detection.detection --suite full     # every subject
    CE_DETECT_DATA=... python -m benchmarks.detection.detection --only fashion pneumonia

The first images of a subject calibrate with its recipe (which splits them by identity), others are attacked and judged.
Every clean image counts, also the misclassified. Writes ``results/detection-<subject>.json`` and
``results/detection.png``. Attacked images are cached: the first run takes hours, a second minutes.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.detection.measures import figures
from benchmarks.detection.picture import picture
from benchmarks.face import CHUNK, AttackedSet, Images, attack_all, rows, split_by_identity
from benchmarks.machine import environment
from benchmarks.program import markdown, parser, progress, quiet, write
from benchmarks.subjects.settings import BUDGETS, FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS, Subject
from ce_detect import DetectedModel, Recipe

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("budget", "cost", "AUROC seen", "AUROC unseen (95 %)", "worst unseen", "C&W", "TPR at 1 / 5 % seen", "FPR")


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--suite", choices=("cifar10", "full"), default="cifar10")
    program.add_argument("--only", choices=tuple(SUBJECTS), nargs="+", help="these subjects, whatever the suite")
    program.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    program.add_argument("--matrix", action="store_true", help="also the train x test matrix, at 2.0; takes long")
    program.add_argument("--time-attacks", action="store_true", help="also time some attacks without the cache")
    options = program.parse_args()
    quiet()
    names = options.only or (tuple(SUBJECTS) if options.suite == "full" else ("cifar10-resnet20",))
    for name in names:
        outcome = measured(SUBJECTS[name], options.budgets, time_attacks=options.time_attacks, matrix=options.matrix)
        write(path(name), outcome)
        show(outcome)
    outcomes = [json.loads(path(name).read_text()) for name in SUBJECTS if path(name).exists()]
    picture(outcomes, RESULTS / "detection.png")


def path(name: str) -> Path:
    """Where the outcome of a subject is written."""
    return RESULTS / f"detection-{name}.json"


def measured(subject: Subject, budgets: list[float], *, time_attacks: bool, matrix: bool) -> dict[str, Any]:
    """Everything measured on one subject."""
    first, fresh = subject.split()
    guard = subject.guard(first.pixels.shape[1:])
    attacked = subject.attack(guard, fresh, progress)
    warm(guard, first, Recipe.load(subject.recipe))
    attacking = attack_seconds(guard, first, Recipe.load(subject.recipe)) if time_attacks else None
    return {
        "what": f"{subject.title}; AUROC and TPR over successful attacks against all clean images",
        "subject": subject.name,
        "environment": environment(),
        "seed": SEED,
        "n": {"calibration": len(first), "clean": len(fresh), **{name: len(s) for name, s in attacked.items()}},
        "attack_seconds": attacking,
        "budgets": [at(budget, subject, guard, first, fresh, attacked, attacking, matrix) for budget in budgets],
    }


def at(
    budget: float,
    subject: Subject,
    guard: DetectedModel,
    first: Images,
    fresh: Images,
    attacked: dict[str, AttackedSet],
    attacking: dict[str, float] | None,
    matrix: bool,
) -> dict[str, Any]:
    """Calibrate at one budget, leave the gate for other programs, and measure it."""
    start = time.perf_counter()
    guard.calibrate(first, recipe=subject.recipe, fpr=FPR, budget=budget, seed=SEED, progress=progress)
    seconds = time.perf_counter() - start
    times = {"calibration_with_attacks_cached": round(seconds, 1)}
    if attacking is not None:
        times["share_of_calibration"] = round(seconds / (seconds + attacking["whole_calibration"]), 3)
    found = figures(guard, budget, first, fresh, attacked, Recipe.load(subject.recipe), crossed=matrix)
    subject.leave(guard, budget)
    print(f"\n{subject.title}, budget {budget}: {found['summary']}", flush=True)
    return {**found, "seconds": times}


def warm(guard: DetectedModel, first: Images, recipe: Recipe) -> None:
    """Make the attacked images of the calibration, so that its other steps can be timed alone."""
    parts = split_by_identity(first.pixels, recipe.splits, SEED)
    for name in ("fit", "select", "test"):
        if len(parts[name]):
            attack_all(guard.classifier, rows(first.pixels, parts[name]), recipe.attacks, seed=SEED, progress=progress)


def attack_seconds(guard: DetectedModel, first: Images, recipe: Recipe) -> dict[str, float]:
    """Time to attack a few images without a cache, in parallel, and what that means for a calibration."""
    small = math.prod(first.pixels.shape[1:]) < 10_000
    count = CHUNK * 2 * (os.cpu_count() or 1) if small else 2 * (os.cpu_count() or 1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        attack_all(guard.classifier, first.x[:count], recipe.attacks, seed=SEED, cache=Path(folder))
    each = (time.perf_counter() - start) / count
    attacked = len(first) * (1 - recipe.splits["calibrate"])
    return {"images_timed": count, "per_image": round(each, 3), "whole_calibration": round(each * attacked, 1)}


def show(outcome: dict[str, Any]) -> None:
    """Print one row a budget."""
    lines: list[Sequence[Any]] = [COLUMNS]
    for row in outcome["budgets"]:
        s: dict[str, Any] = row["summary"]
        low, high = row["intervals_95"]["auroc unseen"]
        worst = row["report"]["attacks"][s["worst_unseen"]]["auroc_successes"]
        lines.append(
            [
                row["budget"] or "none",
                s["cost"],
                s["auroc_seen"],
                f"{s['auroc_unseen']} ({low}-{high})",
                f"{s['worst_unseen']} {worst:.3f}",
                s["auroc_cw"],
                f"{s['tpr_at_1_seen']} / {s['tpr_at_5_seen']}",
                s["false_positive_rate"],
            ]
        )
    print(f"\n{outcome['what']}\n{markdown(lines)}")


if __name__ == "__main__":
    main()
