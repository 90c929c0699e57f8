"""What hardening costs on ordinary attacks: gates of ``adaptive.py`` on the images and attacks of ``detection.py``.

    CE_DETECT_DATA=... python -m benchmarks.adaptive.hardened

Mean AUROC over successful attacks, seen and unseen; every clean image counts. Also how large the exported graphs are.
Writes ``results/hardened-<subject>.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adaptive.bench import BUDGET, HARDENED, LARGE, Bench
from benchmarks.face import auroc
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write
from benchmarks.serving.graphs import sizes
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import DetectedModel, Recipe

RESULTS = Path(__file__).parent / "results"
GATES = {
    f"{budget:g}, hardened in 1 round" if rounds else f"{budget:g}": (budget, rounds)
    for budget, rounds in ((BUDGET, 0), (LARGE, 0), (BUDGET, 1), (HARDENED, 1), (LARGE, 1))
}
"""Budget and rounds of hardening of each gate."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--subject", choices=tuple(SUBJECTS), default="cifar10-resnet20")
    subject = SUBJECTS[program.parse_args().subject]
    quiet()
    bench = Bench(subject, count=1, steps=1)
    found = {"what": __doc__.partition("\n")[0], "environment": environment(), "gates": {}}
    for name, (budget, rounds) in GATES.items():
        found["gates"][name] = row = judged(bench, bench.calibrated(budget, rounds))
        print(
            f"{name:24} FPR {row['false_positive_rate']:.3f}, "
            f"seen {row['seen']:.4f}, unseen {row['unseen']:.4f}, {row['bytes']} B"
        )
    write(RESULTS / f"hardened-{subject.name}.json", found)


def judged(bench: Bench, guard: DetectedModel) -> dict[str, Any]:
    """Figures of one gate."""
    _, images = bench.subject.split()
    clean = guard(np.asarray(images.x))
    areas = {}
    for name, twins in bench.subject.attack(guard, images, progress).items():
        result = guard(np.asarray(twins.x))
        areas[name] = round(float(auroc(clean.score, result.score[result.label != clean.label[twins.index]])), 4)
    known = {attack.name for attack in Recipe.load(bench.subject.recipe).attacks}
    return {
        "seen": round(float(np.mean([area for name, area in areas.items() if name in known])), 4),
        "unseen": round(float(np.mean([area for name, area in areas.items() if name not in known])), 4),
        "auroc": areas,
        **sizes(guard),
        "false_positive_rate": round(float(clean.is_adversarial.mean()), 4),
    }


if __name__ == "__main__":
    main()
