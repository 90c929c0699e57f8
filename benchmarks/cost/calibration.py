"""How long a calibration takes, in seconds on the clock, with nothing in the cache.

    CE_DETECT_DATA=... python -m benchmarks.cost.calibration --only cifar10-resnet20
    CE_DETECT_DATA=... python -m benchmarks.cost.calibration --only fashion --recipe quick --images 800
    CE_DETECT_DATA=... python -m benchmarks.cost.calibration --only cifar10-resnet20 \
        --architecture "torchvision resnet18" --recipe quick --images 300      # pip install torchvision

Another architecture takes the place of the subject's network. It learns the subject's images for a few seconds first:
how well it does hardly matters to the clock. Budget 2.0, 5 % asked, processes as many as pay. Run it where nothing
else runs; the load of the machine at the start stands beside the figures. Each phase lasts until progress tells of the
next one. A row of the same model, recipe and number of images takes the place of the one before.
"""

from __future__ import annotations

import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.face import Images
from benchmarks.machine import environment
from benchmarks.program import parser, quiet, read, write
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS
from benchmarks.zoo.architectures import architectures
from ce_detect import DetectedModel

RESULT = Path(__file__).parent / "results" / "calibration.json"
BUDGET = 2.0


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    program.add_argument("--recipe", help="by default that of the subject")
    program.add_argument("--images", type=int, default=1400)
    program.add_argument("--architecture", choices=list(architectures(None)), help="another network, of a package")
    program.add_argument("--out", type=Path, default=RESULT)
    options = program.parse_args()
    quiet()
    rows = read(options.out)["rows"] if options.out.exists() else []
    for name in options.only:
        row = measured(name, options.recipe or SUBJECTS[name].recipe, options.images, options.architecture)
        rows = [*(one for one in rows if _key(one) != _key(row)), row]
        write(options.out, {"what": "calibrations from an empty cache, budget 2.0, 5 % asked", "rows": rows})


def measured(name: str, recipe: str, images: int, architecture: str | None = None) -> dict[str, Any]:
    """One calibration, and what it took."""
    subject, load, machine = SUBJECTS[name], os.getloadavg()[0], environment()
    clean, others = subject.split()
    clean = clean.subset(slice(images))
    if architecture is None:
        guard = subject.guard(clean.x.shape[1:])
    else:
        model = briefly_trained(architectures(None)[architecture].build(), others)
        guard = DetectedModel(model, input_shape=clean.x.shape[1:], bounds=(0.0, 1.0))
    with tempfile.TemporaryDirectory() as cache:
        phases = Phases()
        guard.calibrate(clean, recipe=recipe, fpr=FPR, budget=BUDGET, seed=SEED, cache=cache, progress=phases)
        found = phases.seconds()
    return {
        "subject": name,
        "title": subject.title if architecture is None else f"{subject.title.split(',')[0]}, {architecture}",
        "parameters": sum(parameter.numel() for parameter in guard.model.parameters()),
        "input_shape": list(clean.x.shape[1:]),
        "recipe": recipe,
        "images": len(clean),
        "seconds": round(sum(found.values()), 1),
        "phases": {phase: round(seconds, 1) for phase, seconds in found.items()},
        "load": round(load, 2),
        "environment": machine,
    }


def briefly_trained(model: nn.Module, data: Images) -> nn.Module:
    """A model that has seen a thousand images six times, in eval mode."""
    torch.manual_seed(SEED)
    x, y = torch.from_numpy(data.x[:1000]), torch.from_numpy(data.y[:1000])
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(6):
        for rows in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


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
    return row["title"], row["recipe"], row["images"]


if __name__ == "__main__":
    main()
