"""A cascade at a budget of 1.5: what it detects, whom it clears, and what it costs as more of the traffic is attacked.

    CE_DETECT_DATA=... python -m benchmarks.detection.cascade                           # CIFAR-10, ResNet-20
    CE_DETECT_DATA=... python -m benchmarks.detection.cascade --only imagenet-lite0

Calibrates with the images of ``detection.py`` and judges the same images and attacks. Costs are those of the fused
graph over the bare model's in ONNX Runtime: both run the same stream of images in batches of 1, 8 and 32, in turns, and
the ratio is the median over the rounds. Streams mix clean images with successful attacks of all kinds, in an order that
is drawn from a seed. Writes ``results/cascade.json``; rows of subjects that were not asked for stay.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.detection.measures import figures, successful
from benchmarks.face import AttackedSet, Images, cleared, fused, on_each, ratios
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, rows_left, write
from benchmarks.serving.graphs import bare_graph, opened, sizes
from benchmarks.subjects.settings import BATCHES, CASCADED, FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS, Subject
from ce_detect import DetectedModel, Recipe

RESULT = Path(__file__).parent / "results" / "cascade.json"

SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
"""Of a stream, how much is attacked."""

PIXELS, LEAST = 1_000_000, 96
"""Pixel values in a stream, about, and images at least; a multiple of the largest batch."""

SECONDS = 20.0
"""Time after which no new round begins."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", choices=tuple(SUBJECTS), nargs="+", default=["cifar10-resnet20"])
    program.add_argument("--rounds", type=int, default=15)
    program.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    options = program.parse_args()
    quiet()
    rows = [found for name in options.only if (found := measured(SUBJECTS[name], options))]
    outcome = {
        "what": __doc__.partition("\n")[0], "budget": CASCADED, "fpr": FPR, "seed": SEED,
        "environment": {**environment(), "onnxruntime": onnxruntime.__version__},
        "rows": [*rows, *rows_left(RESULT, options.only)],
    }  # fmt: skip
    write(RESULT, outcome)


def measured(subject: Subject, options: argparse.Namespace) -> dict[str, Any] | None:
    """Everything measured on one subject; None where the search finds nothing that a cascade could spare."""
    first, fresh = subject.split()
    guard = subject.guard(first.pixels.shape[1:])
    recipe = Recipe.load(subject.recipe)
    guard.calibrate(first, recipe=subject.recipe, fpr=FPR, budget=CASCADED, seed=SEED, cascade=True, progress=progress)
    if not guard.manifest["cascade"]:
        print(f"{subject.title}: no cascade, no intervention is worth its cost at this budget", flush=True)
        return None
    subject.leave(guard, CASCADED, cascade=True)
    attacked = subject.attack(guard, fresh, progress)
    found = figures(guard, CASCADED, first, fresh, attacked, recipe)
    del found["cost_by_batch"], found["cost_against_folded_model"]  # of the first images, which may be cleared or not
    found["summary"]["cost"] = guard.manifest["figures"]["cost"]
    twins = {name: successful(guard, fresh.pixels, value) for name, value in attacked.items()}
    judged = {"clean": fresh.pixels, **{name: twin.pixels for name, twin in twins.items()}}
    areas = [attack["auroc_successes"] for attack in found["report"]["attacks"].values()]
    outcome = {
        "subject": subject.name, **found, "mean_auroc": round(float(np.mean(areas)), 4),
        "figures": {key: guard.manifest["figures"][key] for key in ("cost", "served_cost", "cascade")},
        "cleared": {name: round(cleared(guard.gate, x), 4) for name, x in judged.items()},
        **sizes(guard),
        "traffic": traffic(guard, fresh, twins, options),
    }  # fmt: skip
    print(
        f"{subject.title}: {found['summary']}, mean {outcome['mean_auroc']}, cleared {outcome['cleared']}", flush=True
    )
    return outcome


def traffic(
    guard: DetectedModel, fresh: Images, twins: dict[str, AttackedSet], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Cost by the share of attacked images and the batch size, and how many were cleared."""
    gated = opened(fused(guard.gate, guard.manifest).SerializeToString(), options.threads)
    alone = opened(bare_graph(guard.model, torch.from_numpy(fresh.pixels[:2])), options.threads)
    found = {}
    for share in SHARES:
        x = stream(fresh, twins, share)
        costs = {"cleared": round(cleared(guard.gate, x), 4)}
        for batch in BATCHES:
            feeds = [{"input": x[start : start + batch]} for start in range(0, len(x), batch)]
            bare, whole = (on_each(partial(session.run, None), feeds) for session in (alone, gated))
            (ratio,) = ratios(bare, [whole], rounds=options.rounds, seconds=SECONDS)
            costs[str(batch)] = round(ratio, 3)
        print(f"{share:.0%} attacked: {costs}", flush=True)
        found[f"{share:g}"] = costs
    return found


def stream(fresh: Images, twins: dict[str, AttackedSet], share: float) -> NDArray[np.float32]:
    """Images of which a share is attacked, by every attack as often, in random order."""
    generator = np.random.default_rng(SEED)
    largest = max(BATCHES)
    count = largest * max(LEAST // largest, round(PIXELS / np.prod(fresh.pixels.shape[1:]) / largest))
    each = [np.asarray(twin.pixels) for twin in twins.values() if len(twin)]
    number = round(share * count)
    picked = [each[i % len(each)][generator.integers(len(each[i % len(each)]))] for i in range(number)]
    clean = np.asarray(fresh.pixels[: count - number])
    mixed = np.concatenate([clean, np.stack(picked)]) if picked else clean
    return np.ascontiguousarray(mixed[generator.permutation(len(mixed))])


if __name__ == "__main__":
    main()
