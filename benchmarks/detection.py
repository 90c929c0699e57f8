"""Detection at several budgets, on attacks that calibration saw and on others.

    CE_DETECT_DATA=... python benchmarks/detection.py                  # CIFAR-10, ResNet-20
    CE_DETECT_DATA=... python benchmarks/detection.py --suite full     # every subject of subjects.py
    CE_DETECT_DATA=... python benchmarks/detection.py --only fashion pneumonia

The first images of a subject calibrate with its recipe (which splits them by identity), others are attacked and judged.
Every clean image counts, also the misclassified. Writes ``results/detection-<subject>.json`` and, when more than one
subject is there, ``results/detection.png``. Attacked images are cached: the first run takes hours, a second minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import math
import os
import platform
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from subjects import SEED, SUBJECTS, Subject

from ce_detect import DetectedModel, Recipe
from ce_detect.attacks.generation import CHUNK, AttackedSet, attack_all
from ce_detect.calibrate.cost.timing import ratios
from ce_detect.data import Images, rows
from ce_detect.data.splits import split_by_identity
from ce_detect.detector.inference import Inference
from ce_detect.evaluate import report
from ce_detect.evaluate.intervals import Scores, intervals
from ce_detect.evaluate.matrix import matrix
from ce_detect.evaluate.metrics import auroc, tpr_at
from ce_detect.fitting import feature_tables
from ce_detect.verdict import conformal

RESULTS = Path(__file__).parent / "results"
FPR = 0.05
BUDGETS = (1.1, 1.5, 2.0, 4.5)
MATRIX_BUDGET = 2.0
RESPLITS = 50
BATCHES = (1, 8, 32)
DRAWS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=("cifar10", "full"), default="cifar10")
    parser.add_argument("--only", choices=tuple(SUBJECTS), nargs="+", help="these subjects, whatever the suite")
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--time-attacks", action="store_true", help="also time some attacks without the cache")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="art")
    logging.basicConfig(level=logging.WARNING)
    RESULTS.mkdir(exist_ok=True)
    names = options.only or (tuple(SUBJECTS) if options.suite == "full" else ("cifar10-resnet20",))
    for name in names:
        outcome = measured(SUBJECTS[name], options.budgets, time_attacks=options.time_attacks)
        path(name).write_text(json.dumps(outcome, indent=1) + "\n")
        table(outcome)
    outcomes = [json.loads(path(name).read_text()) for name in SUBJECTS if path(name).exists()]
    picture(outcomes, RESULTS / "detection.png")


def path(name: str) -> Path:
    """Where the outcome of a subject is written."""
    return RESULTS / f"detection-{name}.json"


def measured(subject: Subject, budgets: list[float], *, time_attacks: bool) -> dict[str, Any]:
    """Everything measured on one subject."""
    first, fresh = subject.split()
    guard = subject.guard(first.pixels.shape[1:])
    recipe = Recipe.load(subject.recipe)
    attacked = subject.attack(guard, fresh, progress)
    warm(guard, first, recipe)
    attacking = attack_seconds(guard, first, recipe) if time_attacks else None
    budget_rows = []
    for budget in budgets:
        start = time.perf_counter()
        guard.calibrate(first, recipe=subject.recipe, fpr=FPR, budget=budget, seed=SEED, progress=progress)
        seconds = time.perf_counter() - start
        times = {"calibration_with_attacks_cached": round(seconds, 1)}
        if attacking is not None:
            times["share_of_calibration"] = round(seconds / (seconds + attacking["whole_calibration"]), 3)
        found = row(guard, budget, first, fresh, attacked, recipe)
        budget_rows.append({**found, "seconds": times})
        subject.artifact(budget).parent.mkdir(parents=True, exist_ok=True)
        guard.save(subject.artifact(budget))
        print(f"\n{subject.title}, budget {budget}: {found['summary']}", flush=True)
    return {
        "what": f"{subject.title}; AUROC and TPR over successful attacks against all clean images",
        "subject": subject.name,
        "environment": environment(),
        "seed": SEED,
        "n": {"calibration": len(first), "clean": len(fresh), **{name: len(s) for name, s in attacked.items()}},
        "attack_seconds": attacking,
        "budgets": budget_rows,
    }


def warm(guard: DetectedModel, first: Images, recipe: Recipe) -> None:
    """Make the attacked images of the calibration, so that its other steps can be timed alone."""
    parts = split_by_identity(first.pixels, recipe.splits, SEED)
    for name in ("fit", "select", "test"):
        if len(parts[name]):
            attack_all(guard.classifier, rows(first.pixels, parts[name]), recipe.attacks, seed=SEED, progress=progress)


def row(
    guard: DetectedModel,
    budget: float,
    first: Images,
    fresh: Images,
    attacked: dict[str, AttackedSet],
    recipe: Recipe,
) -> dict[str, Any]:
    """Everything measured at one budget."""
    figures = report.evaluate(guard.gate, fresh.pixels, fresh.y, attacked, target=FPR)
    groups = {"seen": [attack.name for attack in recipe.attacks]}
    groups["unseen"] = [name for name in attacked if name not in groups["seen"]]
    scores = successes(guard, fresh, attacked)
    cost = costs(guard, fresh)
    summary: dict[str, Any] = {"cost": cost["32"], "false_positive_rate": round(figures.clean.false_positive_rate, 4)}
    for group, names in groups.items():
        some = [figures.attacks[name] for name in names]
        summary |= {
            f"auroc_{group}": mean(f.auroc_successes for f in some),
            f"tpr_at_1_{group}": mean(f.tpr_at_1 for f in some),
            f"tpr_at_5_{group}": mean(f.tpr_at_5 for f in some),
            f"auroc_{group}_clean_only": mean(f.clean_only.auroc_successes for f in some if f.clean_only is not None),
            f"worst_{group}": min(names, key=lambda name: figures.attacks[name].auroc_successes),
        }
    summary["auroc_cw"] = round(figures.attacks["cw-l2"].auroc_successes, 4)
    found: dict[str, Any] = {
        "budget": None if math.isinf(budget) else budget,
        "summary": summary,
        "intervals_95": spread(scores, groups),
        "cost_by_batch": cost,
        "cost_against_folded_model": folded(guard, fresh),
        "interventions": guard.manifest["signature"]["names"],
        "sites": guard.manifest["signature"]["sites"],
        "search": guard.manifest["search"],
        "resplits": resplits(guard, first, fresh, FPR),
        "report": figures.to_dict(),
    }
    if budget == MATRIX_BUDGET:
        found["matrix"] = train_test(guard, first, fresh, attacked, recipe)
    return found


def successes(guard: DetectedModel, fresh: Images, attacked: dict[str, AttackedSet]) -> Scores:
    """Scores of all clean images and of the successful attempts."""
    clean = report.judge(guard.gate, fresh.pixels)
    found = {}
    for name, twins in attacked.items():
        judged = report.judge(guard.gate, twins.pixels)
        success = judged.label != clean.label[twins.index]
        found[name] = judged.score[success], twins.index[success]
    return Scores(clean.score, found)


def spread(scores: Scores, groups: dict[str, list[str]]) -> dict[str, list[float]]:
    """Bootstrap intervals of each attack's AUROC, and of the means over seen and over unseen attacks."""

    def area(names: list[str]) -> Any:
        return lambda drawn: float(np.mean([auroc(drawn.clean, drawn.attacked[name][0]) for name in names]))

    def rate(names: list[str], fpr: float) -> Any:
        return lambda drawn: float(np.mean([tpr_at(drawn.clean, drawn.attacked[name][0], fpr) for name in names]))

    wanted = {f"auroc {name}": area([name]) for names in groups.values() for name in names}
    for group, names in groups.items():
        wanted |= {f"auroc {group}": area(names)}
        wanted |= {f"tpr_at_{percent} {group}": rate(names, percent / 100) for percent in (1, 5)}
    found = intervals(scores, wanted, draws=DRAWS, seed=SEED)
    return {key: [round(end, 4) for end in ends] for key, ends in found.items()}


def train_test(
    guard: DetectedModel, first: Images, fresh: Images, attacked: dict[str, AttackedSet], recipe: Recipe
) -> dict[str, dict[str, float]]:
    """The train x test matrix over attacks, with the signature of the gate."""
    gate = guard.gate
    parts = split_by_identity(first.pixels, recipe.splits, SEED)
    sets = {}
    for name in ("fit", "select"):
        x = rows(first.pixels, parts[name])
        twins = attack_all(guard.classifier, x, recipe.attacks, seed=SEED)
        sets[name] = feature_tables.Sets(x, {key: successful(guard, x, value) for key, value in twins.items()})
    judged = feature_tables.Table(
        feature_tables.features(gate.signature, fresh.pixels),
        {
            key: feature_tables.features(gate.signature, successful(guard, fresh.pixels, value).pixels)
            for key, value in attacked.items()
        },
    )
    found = matrix(gate.signature, sets, judged, kind=recipe.head, seed=SEED)
    return {row: {key: round(value, 4) for key, value in columns.items()} for row, columns in found.items()}


def successful(guard: DetectedModel, x: Any, twins: AttackedSet) -> AttackedSet:
    """Those attempts that changed the decision."""
    labels, attacked = (report.judge(guard.gate, pixels).label for pixels in (x, twins.pixels))
    return twins.subset(attacked != labels[twins.index])


def mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


def costs(guard: DetectedModel, fresh: Images) -> dict[str, float]:
    """Time of a gated forward over that of the model alone, by batch size."""
    found, judge = {}, Inference(guard.gate).judge
    with torch.inference_mode():
        for batch in BATCHES:
            x = torch.from_numpy(fresh.pixels[:batch])
            found[str(batch)] = round(ratios(lambda x=x: guard.model(x), [lambda x=x: judge(x)], rounds=21)[0], 3)
    return found


def folded(guard: DetectedModel, fresh: Images) -> float:
    """The same at batch 32 against the model as the gate runs it: batch norms folded, channels last."""
    x, judge = torch.from_numpy(fresh.pixels[:32]), Inference(guard.gate).judge
    with torch.inference_mode():
        return round(ratios(lambda: guard.classifier.logits(x), [lambda: judge(x)], rounds=21)[0], 3)


def resplits(
    guard: DetectedModel, first: Images, fresh: Images, fpr: float, calibration_images: int | None = None
) -> dict[str, Any]:
    """Redraw which of the clean images that no head was fitted on set the threshold; judge the rest, 50 times.

    Both parts are finite, so the realised rate scatters about the true one: a promise about the true rate that holds
    with 95 % leaves the realised rate above the target somewhat more often than in 5 % of the draws.
    """
    parts = split_by_identity(first.pixels, guard.manifest["recipe"]["splits"], guard.manifest["seed"])
    held_out = [rows(first.pixels, parts["calibrate"]), rows(first.pixels, parts["test"]), fresh.pixels]
    scores = np.concatenate([report.judge(guard.gate, x).score for x in held_out if len(x)])
    n = calibration_images or len(parts["calibrate"])
    realised = []
    for draw in range(RESPLITS):
        order = np.random.default_rng(draw).permutation(len(scores))
        threshold = conformal.threshold(scores[order[:n]], fpr)
        realised.append(float(np.mean(scores[order[n:]] > threshold)))
    return {
        "target": fpr,
        "calibration_images": n,
        "fresh_images": len(scores) - n,
        "mean": round(float(np.mean(realised)), 4),
        "largest": round(max(realised), 4),
        "share_within_target": float(np.mean(np.asarray(realised) <= fpr)),
    }


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


def environment() -> dict[str, Any]:
    packages = ("ce-detect", "torch", "adversarial-robustness-toolbox", "scikit-learn", "numpy")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def picture(outcomes: list[dict[str, Any]], target: Path) -> None:
    """Cost against detection, a panel a subject."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(outcomes), figsize=(4 * len(outcomes), 4), sharey=True, squeeze=False)
    for axes, outcome in zip(panels[0], outcomes, strict=True):
        found = [r["summary"] for r in outcome["budgets"]]
        for key, label in (("auroc_seen", "seen attacks"), ("auroc_unseen", "unseen attacks"), ("auroc_cw", "C&W L2")):
            axes.plot([s["cost"] for s in found], [s[key] for s in found], marker="o", label=label)
        axes.set_title(outcome["what"].partition(";")[0], fontsize=10)
        axes.set_xlabel("gated forward / model alone")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("AUROC, successes against all clean images")
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(target, dpi=110, metadata={"Software": None})


def table(outcome: dict[str, Any]) -> None:
    """Print one row a budget."""
    print(f"\n{outcome['what']}")
    print("| budget | cost | AUROC seen | AUROC unseen (95 %) | worst unseen | C&W | TPR at 1 / 5 % seen | FPR |")
    print("|---|---|---|---|---|---|---|---|")
    for r in outcome["budgets"]:
        s: dict[str, Any] = r["summary"]
        low, high = r["intervals_95"]["auroc unseen"]
        worst = r["report"]["attacks"][s["worst_unseen"]]["auroc_successes"]
        cells = [
            r["budget"] or "none",
            s["cost"],
            s["auroc_seen"],
            f"{s['auroc_unseen']} ({low}-{high})",
            f"{s['worst_unseen']} {worst:.3f}",
            s["auroc_cw"],
            f"{s['tpr_at_1_seen']} / {s['tpr_at_5_seen']}",
            s["false_positive_rate"],
        ]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")


_last: NDArray[np.float64] = np.zeros(1)


def progress(what: str, done: float, total: float) -> None:
    """Print a line every ten seconds."""
    if time.monotonic() - _last[0] > 10:
        _last[0] = time.monotonic()
        print(f"{what}: {done / total:.0%}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
