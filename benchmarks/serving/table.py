"""Table of the docs: what a gate costs in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from benchmarks.program import read

RESULT = Path(__file__).parent / "results" / "serving.json"
MODELS = {
    "cifar10-resnet20": "ResNet-20",
    "imagenet-lite0": "EfficientNet-Lite0",
    "fashion": "CNN, Fashion-MNIST",
    "pneumonia": "CNN, PneumoniaMNIST",
}


def serving() -> list[list[str]]:
    """Time of the fused graph over the bare model's, by budget and batch size."""
    found = read(RESULT)["rows"]
    rows = [["budget", *MODELS.values()]]
    for budget in sorted({row["budget"] for row in found}):
        by_subject = {row["subject"]: row["ratio_by_batch"] for row in found if row["budget"] == budget}
        cells = [" / ".join(f"{ratio:.2f}" for ratio in by_subject[subject].values()) for subject in MODELS]
        rows.append([f"{budget:g}", *cells])
    return rows


TABLES = {"serving": serving}
