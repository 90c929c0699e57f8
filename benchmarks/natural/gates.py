"""What the programs here do alike: gates of a subject at one budget, by seed of the calibration, and their results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.face import AttackedSet, Images
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write
from benchmarks.subjects.settings import FILES, FPR, NAMES, SEED
from benchmarks.subjects.subjects import SUBJECTS, Subject
from ce_detect import DetectedModel

BUDGET = 2.0
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Judged:
    """A gate, and what it is to judge.

    Attributes:
        subject: whose it is.
        seed: of its calibration.
        guard: the gate.
        first: images that calibrated it.
        fresh: images that did not.
        attacked: attacks on the first of these.
    """

    subject: Subject
    seed: int
    guard: DetectedModel
    first: Images
    fresh: Images
    attacked: dict[str, AttackedSet]


def program(doc: str | None, name: str, what: str, measured: Callable[[Judged], dict[str, Any]]) -> None:
    """Measure each gate that the command line asks for, and write a row for each seed as soon as it is there.

    Args:
        doc: of the program.
        name: of its results, ``results/<name>-<subject>.json``.
        what: the results are.
        measured: a row; its ``"summary"`` is printed.
    """
    asked = _options(doc)
    quiet()
    for subject in asked.only:
        rows: list[dict[str, Any]] = []
        described = {"what": what, "subject": subject, "budget": BUDGET, "environment": environment(), "rows": rows}
        for gate in gates(asked, subject):
            rows.append({"seed": gate.seed, **measured(gate)})
            print(subject, gate.seed, rows[-1]["summary"], flush=True)
            write(RESULTS / f"{name}-{subject}.json", described)


def _options(doc: str | None) -> argparse.Namespace:
    """Which subjects and seeds, and how many images."""
    asked = parser(doc)
    asked.add_argument("--only", choices=FILES, nargs="+", default=list(NAMES))
    asked.add_argument("--seeds", type=int, nargs="+", default=[SEED])
    asked.add_argument("--clean", type=int, default=1200, help="clean images that are judged, at most")
    asked.add_argument("--attacked", type=int, default=200, help="attacked images of each attack, at most")
    return asked.parse_args()


def gates(asked: argparse.Namespace, name: str) -> Iterator[Judged]:
    """Each gate that was asked for."""
    subject = SUBJECTS[name]
    first, fresh = subject.split()
    guard = subject.guard(first.pixels.shape[1:])
    fresh, attacked = attacked_images(subject, guard, fresh, clean=asked.clean, attacked=asked.attacked)
    for seed in asked.seeds:
        yield Judged(subject, seed, _gate(subject, guard, first, seed), first, fresh, attacked)


def attacked_images(
    subject: Subject, guard: DetectedModel, fresh: Images, *, clean: int, attacked: int
) -> tuple[Images, dict[str, AttackedSet]]:
    """The first so many clean images, and of each attack the first so many on these."""
    made = {name: twins.subset(slice(attacked)) for name, twins in subject.attack(guard, fresh, progress).items()}
    fresh = fresh.subset(slice(clean))
    return fresh, {name: twins.subset(twins.index < len(fresh)) for name, twins in made.items()}


def _gate(subject: Subject, guard: DetectedModel, first: Images, seed: int) -> DetectedModel:
    plain = subject.artifact(BUDGET)
    path = plain if seed == SEED else plain.with_stem(f"{plain.stem}-seed-{seed}")
    if path.exists():
        return DetectedModel.load(path, guard.model)
    guard.calibrate(first, recipe=subject.recipe, fpr=FPR, budget=BUDGET, seed=seed, progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    guard.save(path)
    return guard
