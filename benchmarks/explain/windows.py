"""Which windows, and which mean over their sizes, make the better effect map? On images that no table of maps has.

    CE_DETECT_DATA=... python -m benchmarks.explain.windows --only pneumonia --images 24

The default of `ce_detect.explain.effect_maps` was chosen by this. The images are those that calibrate in other
programs; ``explain.py`` judges maps on others. Writes ``results/windows-<subject>.json``.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.explain.explain import summary
from benchmarks.explain.subjects import EXPLAINED
from benchmarks.face import EFFECTS, METHODS, Classifier, class_distortion, deletion, effects, insertion
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write
from benchmarks.subjects.images import shuffled_imagenet
from benchmarks.subjects.subjects import SUBJECTS

RESULTS = Path(__file__).parent / "results"

COARSE = (1 / 8, 1 / 4, 1 / 2)
FINER = (1 / 16, *COARSE)
PIXELS = (0.0, *FINER)
"""Sides of windows as shares of the picture's; 0 is a pixel."""

TRIED = {
    "sizes count alike, from 1/8 (before)": (COARSE, "alike", "mean"),
    "the same with a blur in the place": (COARSE, "alike", "blur"),
    "by area, from 1/8": (COARSE, "area", "mean"),
    "sizes count alike, from 1/16": (FINER, "alike", "mean"),
    "by area, from 1/16": (FINER, "area", "mean"),
    "by area, from single pixels": (PIXELS, "area", "mean"),
    "single pixels alone": ((0.0,), "area", "mean"),
}
"""Sizes, how they count, and what is put in the place of what is hidden."""

EVEN, TINY, ROWS = 0.05, 1e-12, 32


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", nargs="+", choices=("pneumonia", "imagenet-lite0"), default=["pneumonia"])
    program.add_argument("--images", type=int, default=24)
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    for name in options.only:
        x = _chosen_by(name, options.images)
        classifier = EXPLAINED[name].classifier(x.shape[1:])
        rows: dict[str, dict[str, list[float]]] = {}
        for number, one in enumerate(x.split(1)):
            labels = EXPLAINED[name].labels(classifier, one)
            for tried, found in _maps(classifier, one, labels).items():
                _judge(rows.setdefault(tried, {}), classifier, one, labels, found[None])
            progress(f"windows {name}", number + 1, len(x))
            figures = {tried: {key: summary(values) for key, values in row.items()} for tried, row in rows.items()}
            write(RESULTS / f"windows-{name}.json", {"environment": environment(), "rows": figures})


def _chosen_by(name: str, count: int) -> Tensor:
    """Images that no table of maps has."""
    if name == "imagenet-lite0":
        return torch.from_numpy(shuffled_imagenet(slice(0, count))[0])
    return torch.from_numpy(np.asarray(SUBJECTS[name].split()[0].x[:count]))


def _judge(row: dict[str, list[float]], classifier: Classifier, x: Tensor, labels: Tensor, found: Tensor) -> None:
    distortion = class_distortion(classifier, x, labels, found).log_odds
    figures = {
        "deletion": deletion(classifier, x, labels, found), "insertion": insertion(classifier, x, labels, found),
        "class_distortion": distortion,
    }  # fmt: skip
    for key, value in figures.items():
        row.setdefault(key, []).append(round(float(value), 5))


def _maps(classifier: Classifier, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Maps ``(height, width)`` of one image: those that were tried, and integrated gradients beside."""
    made: dict[str, Tensor] = {}
    moved: dict[tuple[float, str], tuple[Tensor, Tensor]] = {}
    for tried, (shares, count, instead) in TRIED.items():
        if 0.0 in shares and x.shape[-1] > ROWS:
            continue
        for share in shares:
            if (share, instead) not in moved:
                moved[share, instead] = _moved(classifier, x, labels, share, instead)
        made[tried] = _combined([moved[share, instead] for share in shares], count)
    made["integrated gradients"] = METHODS["integrated-gradients"]().maps(classifier, x, labels)[0]
    return made


def _moved(classifier: Classifier, x: Tensor, labels: Tensor, share: float, instead: str) -> tuple[Tensor, Tensor]:
    """Windows of one size ``(windows, height, width)`` and their target effects ``(windows,)``."""
    height, width = x.shape[-2:]
    sizes = [max(1, math.ceil(share * side)) for side in (height, width)]
    steps = [max(1, size // 2 if share >= 1 / 4 else size) for size in sizes]
    starts = [sorted({min(start, side - size) for start in range(0, side, step)})
              for side, size, step in zip((height, width), sizes, steps, strict=True)]  # fmt: skip
    masks = torch.zeros(len(starts[0]) * len(starts[1]), height, width, dtype=torch.bool)
    for mask, (top, left) in zip(masks, product(*starts), strict=True):
        mask[top : top + sizes[0], left : left + sizes[1]] = True
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    other = x.mean((2, 3), keepdim=True) if instead == "mean" else blurred
    found: list[Tensor] = []
    with torch.inference_mode():
        z = classifier.logits(x)
        for part in masks[:, None].split(ROWS):
            after = classifier.logits(torch.where(part, other, x))[:, None]
            column = EFFECTS.index("target effect")
            found.append(effects(z, after, label=labels, multi_label=classifier.multi_label)[:, 0, column])
    return masks.float(), torch.cat(found).clone()


def _combined(parts: list[tuple[Tensor, Tensor]], count: str) -> Tensor:
    """A map: effects of larger windows are shared among pixels by what smaller ones found."""
    found: list[Any] = []
    weights: list[float] = []
    for masks, moved in parts:
        there = torch.stack(found).mean(0).abs() if found else torch.ones_like(masks[0])
        there = there + EVEN * there.mean() + TINY
        inside = (masks * there).sum((1, 2)) / masks.sum((1, 2))
        found.append(torch.einsum("n,nhw->hw", moved / inside, masks) * there / masks.sum(0))
        weights.append(1 / float(masks[0].sum()) if count == "area" else 1.0)
    return torch.einsum("s,shw->hw", torch.tensor(weights) / sum(weights), torch.stack(found))


if __name__ == "__main__":
    main()
