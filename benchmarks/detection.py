"""Detection on CIFAR-10 with ResNet-20, at several budgets, on attacks that calibration saw and on others.

    CE_DETECT_DATA=... python benchmarks/detection.py

The first 2,800 test images calibrate with the default recipe (which splits them by identity), the last 1,200 are
attacked and judged. Every clean image counts, also the misclassified. Writes ``results/detection.json`` and ``.png``.
Attacked images are cached, so a second run takes minutes instead of an hour.
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
from networks import cifar10_resnet20, data_folder

from ce_detect import Attack, DetectedModel, Recipe, load_data
from ce_detect.calibrate.cost import ratios
from ce_detect.calibrate.sets import CHUNK, AttackedSet, attack_all, split_by_identity
from ce_detect.data import Images
from ce_detect.detector import conformal
from ce_detect.evaluate import report

RESULTS = Path(__file__).parent / "results"
CALIBRATION_IMAGES = 2800
FPR = 0.05
BUDGETS = (1.1, 2.0, 4.5, math.inf)
UNSEEN = (
    (Attack.of("deepfool"), 384),
    (Attack.of("apgd-dlr"), 384),
    (Attack.of("square"), 384),
    (Attack.of("hopskipjump"), 192),
)
RESPLITS = 50
BATCHES = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="art")
    logging.basicConfig(level=logging.WARNING)
    images = load_data(str(data_folder() / "cifar10.npz"), split="test")
    first = images.subset(np.arange(CALIBRATION_IMAGES))
    fresh = images.subset(np.arange(CALIBRATION_IMAGES, len(images)))
    model = cifar10_resnet20()
    guard = DetectedModel(model, input_shape=(3, 32, 32), bounds=(0.0, 1.0))
    recipe = Recipe.load("default")
    attacked = attack(guard, fresh, recipe, options.seed)
    warm(guard, first, recipe, options.seed)
    attacking = attack_seconds(guard, first, recipe, options.seed)
    rows = []
    for budget in options.budgets:
        start = time.perf_counter()
        guard.calibrate(first.x, first.y, fpr=FPR, budget=budget, seed=options.seed, progress=progress)
        seconds = time.perf_counter() - start
        share = round(seconds / (seconds + attacking["whole_calibration"]), 3)
        times = {"calibration_with_attacks_cached": round(seconds, 1), "share_of_calibration": share}
        rows.append({**row(guard, model, budget, first, fresh, attacked, recipe), "seconds": times})
        print(
            f"\nbudget {budget}: " + ", ".join(f"{key} {value}" for key, value in rows[-1]["summary"].items()),
            flush=True,
        )
    outcome = {
        "what": "CIFAR-10, ResNet-20; AUROC and TPR over successful attacks against all clean images",
        "environment": environment(),
        "seed": options.seed,
        "n": {"calibration": len(first), "clean": len(fresh), **{name: len(s.x) for name, s in attacked.items()}},
        "attack_seconds": attacking,
        "budgets": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "detection.json").write_text(json.dumps(outcome, indent=1) + "\n")
    picture(rows, RESULTS / "detection.png")
    table(rows)


def attack(guard: DetectedModel, fresh: Images, recipe: Recipe, seed: int) -> dict[str, AttackedSet]:
    """Attack the fresh images with the attacks of the recipe, and some of them with those it does not contain."""
    attacked = attack_all(guard.classifier, fresh.x, recipe.attacks, seed=seed, progress=progress)
    for unseen, count in UNSEEN:
        attacked.update(attack_all(guard.classifier, fresh.x[:count], (unseen,), seed=seed, progress=progress))
    return attacked


def warm(guard: DetectedModel, first: Images, recipe: Recipe, seed: int) -> None:
    """Make the attacked images of the calibration, so that its other steps can be timed alone."""
    parts = split_by_identity(first.x, recipe.splits, seed)
    for name in ("fit", "select", "test"):
        attack_all(guard.classifier, first.x[parts[name]], recipe.attacks, seed=seed, progress=progress)


def row(
    guard: DetectedModel,
    model: torch.nn.Module,
    budget: float,
    first: Images,
    fresh: Images,
    attacked: dict[str, AttackedSet],
    recipe: Recipe,
) -> dict[str, Any]:
    """Everything measured at one budget."""
    figures = report.evaluate(guard.gate, fresh.x, fresh.y, attacked, target=FPR)
    seen = [figures.attacks[a.name] for a in recipe.attacks]
    unseen = [figures.attacks[a.name] for a, _ in UNSEEN]
    cost = costs(guard, model, fresh)
    return {
        "budget": None if math.isinf(budget) else budget,
        "summary": {
            "cost": cost["32"],
            "auroc_seen": mean(f.auroc_successes for f in seen),
            "auroc_unseen": mean(f.auroc_successes for f in unseen),
            "auroc_cw": round(figures.attacks["cw-l2"].auroc_successes, 4),
            "tpr_at_5_seen": mean(f.tpr_at_5 for f in seen),
            "tpr_at_5_unseen": mean(f.tpr_at_5 for f in unseen),
            "false_positive_rate": round(figures.clean.false_positive_rate, 4),
        },
        "cost_by_batch": cost,
        "cost_against_folded_model": folded(guard, fresh),
        "interventions": guard.manifest["signature"]["names"],
        "sites": guard.manifest["signature"]["sites"],
        "search": guard.manifest["search"],
        "resplits": {str(fpr): resplits(guard, first, fresh, fpr) for fpr in (0.05, 0.01)},
        "report": figures.to_dict(),
    }


def mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


def costs(guard: DetectedModel, model: torch.nn.Module, fresh: Images) -> dict[str, float]:
    """Time of a gated forward over that of the model alone, by batch size."""
    found = {}
    with torch.inference_mode():
        for batch in BATCHES:
            x = torch.from_numpy(fresh.x[:batch])
            found[str(batch)] = round(ratios(lambda x=x: model(x), [lambda x=x: guard.gate(x)], rounds=41)[0], 3)
    return found


def folded(guard: DetectedModel, fresh: Images) -> float:
    """The same at batch 32 against the model with its batch norms folded, as the gate runs it."""
    x = torch.from_numpy(fresh.x[:32])
    with torch.inference_mode():
        return round(ratios(lambda: guard.classifier.logits(x), [lambda: guard.gate(x)], rounds=41)[0], 3)


def resplits(
    guard: DetectedModel, first: Images, fresh: Images, fpr: float, calibration_images: int | None = None
) -> dict[str, Any]:
    """Redraw which of the clean images that no head was fitted on set the threshold; judge the rest, 50 times.

    Both parts are finite, so the realised rate scatters about the true one: a promise about the true rate that holds
    with 95 % leaves the realised rate above the target somewhat more often than in 5 % of the draws.
    """
    parts = split_by_identity(first.x, guard.manifest["recipe"]["splits"], guard.manifest["seed"])
    held_out = np.concatenate([first.x[parts["calibrate"]], first.x[parts["test"]], fresh.x])
    scores = report.judge(guard.gate, held_out).score
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


def attack_seconds(guard: DetectedModel, first: Images, recipe: Recipe, seed: int) -> dict[str, float]:
    """Time to attack a few chunks of images without a cache, in parallel, and what that means for a calibration."""
    count = CHUNK * 2 * (os.cpu_count() or 1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        attack_all(guard.classifier, first.x[:count], recipe.attacks, seed=seed, cache=Path(folder))
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


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cost = [r["summary"]["cost"] for r in rows]
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for key, label in (("auroc_seen", "seen attacks"), ("auroc_unseen", "unseen attacks"), ("auroc_cw", "C&W L2")):
        axes.plot(cost, [r["summary"][key] for r in rows], marker="o", label=label)
    axes.set_xlabel("time of a gated forward / time of the model alone")
    axes.set_ylabel("AUROC, successful attacks against all clean images")
    axes.set_title("CIFAR-10, ResNet-20")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130, metadata={"Software": None})


def table(rows: list[dict[str, Any]]) -> None:
    print("\n| budget | measured cost | AUROC seen | AUROC unseen | C&W L2 | TPR at 5 % FPR, seen | realised FPR |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        s: dict[str, float] = r["summary"]
        cells = [
            s["cost"],
            s["auroc_seen"],
            s["auroc_unseen"],
            s["auroc_cw"],
            s["tpr_at_5_seen"],
            s["false_positive_rate"],
        ]
        print("| " + " | ".join(str(cell) for cell in [r["budget"] or "none", *cells]) + " |")


_last: NDArray[np.float64] = np.zeros(1)


def progress(what: str, done: float, total: float) -> None:
    """Print a line every ten seconds."""
    if time.monotonic() - _last[0] > 10:
        _last[0] = time.monotonic()
        print(f"{what}: {done / total:.0%}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
