"""Tables of the docs: what a gate costs in ONNX Runtime, and what watching costs a server."""

from __future__ import annotations

from pathlib import Path

from benchmarks.program import read

RESULT = Path(__file__).parent / "results" / "serving.json"
WATCHED = RESULT.with_name("watched.json")
GUARDS = {"demo": "the demo's", "resnet20": "ResNet-20, budget 2.0", "clean-only": "clean-only, without interventions"}
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


def watched() -> list[list[str]]:
    """Throughput and processor time of a server with what watches it, over the server alone."""
    rows = [["guard", "what is on", "turns", "throughput: median (all)", "processor time", "not watched"]]
    for row in read(WATCHED)["rows"]:
        first = [GUARDS[row["graph"]], row["part"], str(row["turns"])]
        if row["part"] == "alone":
            per = f"{row['server_cpu_us_per_image']:,.0f} µs an image"
            rows.append([*first, f"{row['images_per_second']:,.0f} images a second", per, "-"])
            continue
        ratio = f"{row['ratio']:.2f} ({row['smallest']:.2f} to {row['largest']:.2f})"
        rows.append([*first, ratio, f"{row['server_cpu_ratio']:.2f}", f"{row['not_watched'] / row['images']:.1%}"])
    return rows


TABLES = {"serving": serving, "watched": watched}
