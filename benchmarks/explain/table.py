"""Tables of the docs: methods of explanation, their maps under an attack, and what was tried for our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.program import read

RESULTS = Path(__file__).parent / "results"

TITLES = {
    "effect-map": "effect map (ours)", "robust-perturbation": "Robust Perturbation",
    "meaningful-perturbation": "Meaningful Perturbation", "extremal-perturbation": "Extremal Perturbation",
    "rise": "RISE", "grad-cam": "Grad-CAM", "grad-cam++": "Grad-CAM++",
    "guided-backpropagation": "guided backpropagation", "input-x-gradient": "gradient x input",
    "integrated-gradients": "integrated gradients",
}  # fmt: skip
"""Methods in words."""

SUBJECTS = {
    "imagenet-lite0": "ImageNet sample, EfficientNet-Lite0",
    "cifar10-resnet20": "CIFAR-10, ResNet-20",
    "pneumonia": "PneumoniaMNIST, plain CNN",
    "crackforest": "CrackForest patches, plain CNN",
}


def methods() -> list[list[str]]:
    """A line a method and subject, with intervals of 95 % in brackets."""
    rows = [
        [
            "images, model", "method", "images", "deletion (low)", "insertion (high)", "CDS (high)", "CDS, ratio form",
            "overlap / pointing", "sanity: correlation; SSIM", "s an image",
        ]
    ]  # fmt: skip
    for subject, title in SUBJECTS.items():
        path = RESULTS / f"explain-{subject}.json"
        found = read(path)["methods"] if path.exists() else {}
        for number, name in enumerate(name for name in TITLES if name in found):
            of = found[name]["summary"]
            figures = [_figure(of[key]) for key in ("deletion", "insertion", "class_distortion")]
            rows.append(
                [
                    "" if number else title,
                    TITLES[name],
                    str(of["deletion"]["images"]),
                    *figures,
                    f"{of['class_distortion_ratio']['mean']:.2f}",
                    f"{of['overlap']['mean']:.2f} / {of['pointing']['mean']:.2f}" if "overlap" in of else "",
                    _sanity(found[name]),
                    f"{of['seconds']['mean']:.2g}",
                ]
            )
    return rows


def attacked() -> list[list[str]]:
    """Correlation of maps before and after, a line a method."""
    found = read(RESULTS / "attacked-pneumonia.json")["rows"]
    levels = sorted({row["level"] for row in found})
    rows = [["method", *(f"{kind}, {level}/255" for kind in ("attack", "random signs") for level in levels)]]
    for name in dict.fromkeys(row["method"] for row in found):
        own = {(row["kind"], row["level"]): row for row in found if row["method"] == name}
        cells = [_figure(own[kind, level]) for kind in ("attack", "signs") for level in levels]
        rows.append([TITLES[name], *cells])
    return rows


def windows() -> list[list[str]]:
    """What was tried for our own map, a line each."""
    rows = [["images, model", "windows and their mean", "images", "deletion (low)", "insertion (high)", "CDS (high)"]]
    for subject, title in SUBJECTS.items():
        path = RESULTS / f"windows-{subject}.json"
        for number, (tried, figures) in enumerate(read(path)["rows"].items() if path.exists() else ()):
            cells = [_figure(figures[key]) for key in ("deletion", "insertion", "class_distortion")]
            rows.append(["" if number else title, tried, str(figures["deletion"]["images"]), *cells])
    return rows


def _figure(figure: dict[str, Any]) -> str:
    """A mean and its interval."""
    low, high = figure["interval"]
    return f"{figure['mean']:.3g} ({low:.3g} to {high:.3g})"


def _sanity(row: dict[str, Any]) -> str:
    if "sanity" not in row:
        return ""
    stages = [sum(stage["rank_correlation"]) / len(stage["rank_correlation"]) for stage in row["sanity"]["stages"]]
    return f"{' / '.join(f'{mean:.2f}' for mean in stages)}; {row['sanity']['ssim']['mean']:.2f}"


TABLES = {"explain-methods": methods, "explain-attacked": attacked, "explain-windows": windows}
