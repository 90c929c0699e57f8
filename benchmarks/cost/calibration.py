"""How long a calibration takes, in seconds on the clock, with nothing in the cache.

    CE_DETECT_DATA=... python -m benchmarks.cost.calibration --only cifar10-resnet20
    CE_DETECT_DATA=... python -m benchmarks.cost.calibration --only fashion --recipe quick --images 800

Budget 2.0, 5 % asked, processes as many as pay. Run it where nothing else runs; the load of the machine at the start
stands beside the figures. Each phase lasts until progress tells of the next one. A row of the same subject, recipe and
number of images takes the place of the one before.
"""

from __future__ import annotations

import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.machine import environment
from benchmarks.program import parser, quiet, read, write
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS

RESULT = Path(__file__).parent / "results" / "calibration.json"
BUDGET = 2.0


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    program.add_argument("--recipe", help="by default that of the subject")
    program.add_argument("--images", type=int, default=1400)
    program.add_argument("--out", type=Path, default=RESULT)
    options = program.parse_args()
    quiet()
    rows = read(options.out)["rows"] if options.out.exists() else []
    for name in options.only:
        row = measured(name, options.recipe or SUBJECTS[name].recipe, options.images)
        rows = [*(one for one in rows if _key(one) != _key(row)), row]
        write(options.out, {"what": "calibrations from an empty cache, budget 2.0, 5 % asked", "rows": rows})


def measured(name: str, recipe: str, images: int) -> dict[str, Any]:
    """One calibration, and what it took."""
    subject, load, machine = SUBJECTS[name], os.getloadavg()[0], environment()
    clean, _ = subject.split()
    clean = clean.subset(slice(images))
    guard = subject.guard(clean.x.shape[1:])
    with tempfile.TemporaryDirectory() as cache:
        phases = Phases()
        guard.calibrate(clean, recipe=recipe, fpr=FPR, budget=BUDGET, seed=SEED, cache=cache, progress=phases)
        found = phases.seconds()
    return {
        "subject": name,
        "title": subject.title,
        "parameters": sum(parameter.numel() for parameter in guard.model.parameters()),
        "input_shape": list(clean.x.shape[1:]),
        "recipe": recipe,
        "images": len(clean),
        "seconds": round(sum(found.values()), 1),
        "phases": {phase: round(seconds, 1) for phase, seconds in found.items()},
        "load": round(load, 2),
        "environment": machine,
    }


class Phases:
    """A calibration's progress, of which it keeps when each phase began: attacks, search and fit."""

    def __init__(self) -> None:
        self._began = {"attack": time.perf_counter()}

    def __call__(self, description: str, done: float, total: float) -> None:
        """Note the first word on a phase; see `ce_detect.core.types.Progress`."""
        self._began.setdefault(description.split()[0].rstrip(":"), time.perf_counter())

    def seconds(self) -> dict[str, float]:
        """How long each took, up to now."""
        ends = [*self._began.values(), time.perf_counter()]
        return {phase: end - start for phase, (start, end) in zip(self._began, pairwise(ends), strict=True)}


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["subject"], row["recipe"], row["images"]


if __name__ == "__main__":
    main()
