"""Table of the docs: what becomes of a gate whose graph computes in fewer bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read

RESULT = Path(__file__).parent / "results" / "precision.json"
CALIBRATION = RESULT.with_name("calibration.json")
MODELS = {"cifar10-resnet20": "CIFAR-10, ResNet-20", "fashion": "Fashion-MNIST, plain CNN"}


def precision() -> list[list[str]]:
    """A line a subject and precision."""
    rows = [[
        "images, model", "graph", "MB", "time at batch 1 / 8 / 32", "verdicts that flip: clean / attacked",
        "labels that flip: clean", "realised FPR: threshold of fp32 / own", "AUROC", "worst AUROC",
    ]]  # fmt: skip
    for found in read(RESULT)["rows"]:
        title = MODELS[found["subject"]] if found["precision"] == "fp32" else ""
        rows.append([title, found["precision"], *_figures(found)])
    return rows


def _figures(found: dict[str, Any]) -> list[str]:
    clean, attacks = found["clean"], found["attacks"].values()
    aurocs = [attack["auroc"] for attack in attacks]
    attacked = sum(attack["verdict_flips"] for attack in attacks) / len(attacks)
    return [
        f"{found['bytes'] / 1e6:.2f}",
        " / ".join(f"{ratio:.2f}" for ratio in found["time_by_batch"].values()),
        f"{clean['verdict_flips']:.1%} / {attacked:.1%}",
        f"{clean['label_flips']:.1%}",
        f"{clean['flagged_at_threshold_of_fp32']:.3f} / {clean['flagged']:.3f}",
        f"{sum(aurocs) / len(aurocs):.3f}",
        f"{min(aurocs):.3f}",
    ]


def calibration() -> list[list[str]]:
    """A line a calibration: what was calibrated, and how long it took."""
    columns = "images, model", "parameters", "input", "recipe", "images", "minutes", "attacks / search / fit", "load"
    rows = [list(columns)]
    for row in read(CALIBRATION)["rows"] if CALIBRATION.exists() else []:
        size, count = " x ".join(map(str, row["input_shape"])), f"{row['parameters']:,}"
        minutes, load = f"{row['seconds'] / 60:.1f}", f"{row['load']:.1f}"
        shares = " / ".join(f"{seconds / row['seconds']:.0%}" for seconds in row["phases"].values())
        rows.append([row["title"], count, size, row["recipe"], f"{row['images']:,}", minutes, shares, load])
    return rows


TABLES = {"precision": precision, "calibration": calibration}
