"""How much maps change under an attack that keeps the label: causal effects against class activation.

    CE_DETECT_DATA=... python -m benchmarks.explain.attacked

The first paper (Yang et al. 2019) claims that causal effects are the more robust index on chest X-rays. Each image of
PneumoniaMNIST is moved by PGD steps that raise the loss of its label, each step only where the label stays. The figure
is Spearman's correlation of the maps before and after. Random signs of the same size stand beside it. Writes
``results/attacked-pneumonia.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.explain.explain import summary
from benchmarks.explain.subjects import EXPLAINED
from benchmarks.face import METHODS, Classifier, rank_correlation
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write

RESULT = Path(__file__).parent / "results" / "attacked-pneumonia.json"

COMPARED = ("effect-map", "grad-cam", "grad-cam++", "integrated-gradients", "input-x-gradient")

LEVELS = (1, 2, 4)
"""Largest changes of a pixel, in grey levels of 255."""

STEPS = 10


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--images", type=int, default=60)
    program.add_argument("--methods", nargs="+", choices=METHODS, default=list(COMPARED))
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    explained = EXPLAINED["pneumonia"]
    pixels, _ = explained.images()
    x = torch.from_numpy(pixels[: options.images])
    classifier = explained.classifier(x.shape[1:])
    labels = explained.labels(classifier, x)
    before = {name: METHODS[name]().maps(classifier, x, labels) for name in options.methods}
    rows: list[dict[str, Any]] = []
    for level in LEVELS:
        eps = level / 255
        signs = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign()
        for kind, moved in {"attack": kept(classifier, x, labels, eps), "signs": (x + eps * signs).clamp(0, 1)}.items():
            same = classifier.logits(moved).argmax(1) == labels
            for name in options.methods:
                alike = rank_correlation(before[name], METHODS[name]().maps(classifier, moved, labels))
                values = [round(float(value), 4) for value in alike[same]]
                rows.append({"method": name, "level": level, "kind": kind, **summary(values)})
        progress("maps of attacked images", level, max(LEVELS))
    write(RESULT, {"environment": environment(), "steps": STEPS, "rows": rows})


def kept(classifier: Classifier, x: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Images after steps of PGD within ``eps``; a step that would change a label is not made."""
    moved = x.clone()
    for _ in range(STEPS):
        at = moved.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(classifier.logits(at), labels, reduction="sum"), at)
        step = (moved + eps / 4 * gradient.sign()).clamp(x - eps, x + eps).clamp(0, 1)
        stays = classifier.logits(step).argmax(1) == labels
        moved = torch.where(stays[:, None, None, None], step, moved).detach()
    return moved


if __name__ == "__main__":
    main()
