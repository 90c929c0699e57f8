"""How much maps change under an attack that keeps the label: causal effects against class activation.

    CE_DETECT_DATA=... python -m benchmarks.explain.attacked

The first paper (Yang et al. 2019) claims that causal effects are the more robust index on chest X-rays. Each image of
PneumoniaMNIST is moved by PGD steps that lower the log-odds of its label, each step only where the label stays. The
figure is Spearman's correlation of the maps before and after. Random signs of the same size stand beside it. Writes
``results/attacked-pneumonia.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.explain.explain import summary
from benchmarks.explain.subjects import EXPLAINED
from benchmarks.face import ATTACK_STEPS, METHODS, rank_correlation, weakened
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write

RESULT = Path(__file__).parent / "results" / "attacked-pneumonia.json"

COMPARED = ("effect-map", "grad-cam", "grad-cam++", "integrated-gradients")

LEVELS = (1, 2, 4)
"""Largest changes of a pixel, in grey levels of 255."""


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
        for kind, moved in {"attack": weakened(classifier, x, eps), "signs": (x + eps * signs).clamp(0, 1)}.items():
            same = classifier.logits(moved).argmax(1) == labels
            for name in options.methods:
                alike = rank_correlation(before[name], METHODS[name]().maps(classifier, moved, labels))
                values = [round(float(value), 4) for value in alike[same]]
                rows.append({"method": name, "level": level, "kind": kind, **summary(values)})
        progress("maps of attacked images", level, max(LEVELS))
    write(RESULT, {"environment": environment(), "steps": ATTACK_STEPS, "rows": rows})


if __name__ == "__main__":
    main()
