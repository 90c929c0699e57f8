"""What becomes of a gate whose graph computes in float16 or in eight bits: verdicts, false alarms, AUROC, time, size.

    CE_DETECT_DATA=... python -m benchmarks.cost.precision

A gate is calibrated for each precision, on the same images and with the same seed, and exported; the three graphs judge
the same held-out images in ONNX Runtime, clean and attacked with what the gates know. They hold the same heads, so what
differs is the precision alone. Flips are counted at the threshold that was calibrated for float32; of attacked images
those count that change the label of the graph that judges them. Writes ``results/precision.json``; rows of subjects
that were not asked for stay.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.face import attack_all, auroc, on_each, ratios
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, rows_left, write
from benchmarks.serving.graphs import opened
from benchmarks.subjects.settings import BATCHES, FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import DetectedModel, GateResult, Recipe
from ce_detect.runtime import Gate

RESULT = Path(__file__).parent / "results" / "precision.json"
PRECISIONS = ("fp32", "fp16", "int8")
MODELS = ("cifar10-resnet20", "fashion")
CALIBRATION = 800
"""Images that calibrate, the first ones."""

ATTACKED = 200
"""Held-out images that are attacked, the first ones."""

RECIPE = "quick"


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", choices=MODELS, nargs="+", default=list(MODELS))
    program.add_argument("--rounds", type=int, default=41)
    options = program.parse_args()
    quiet()
    rows = [row for name in options.only for row in measured(name, options.rounds)]
    settings = {"recipe": RECIPE, "fpr": FPR, "calibration": CALIBRATION, "attacked": ATTACKED}
    rows = [*rows, *rows_left(RESULT, options.only)]
    write(RESULT, {"environment": environment(), "settings": settings, "rows": rows})


def measured(name: str, rounds: int) -> list[dict[str, Any]]:
    """One row a precision."""
    subject = SUBJECTS[name]
    calibration, held_out = subject.split()
    calibration = calibration.subset(slice(CALIBRATION))
    guards = {}
    for precision in PRECISIONS:
        guard = subject.guard(held_out.x.shape[1:])
        guards[precision] = guard.calibrate(
            calibration.x, calibration.y, recipe=RECIPE, fpr=FPR, seed=SEED, deploy=precision, progress=progress
        )
    if any(guard.manifest["signature"] != guards["fp32"].manifest["signature"] for guard in guards.values()):
        raise SystemExit("the calibrations chose different signatures: their figures say nothing of the precision")
    attacks = Recipe.load(RECIPE).attacks
    twins = attack_all(guards["fp32"].classifier, held_out.x[:ATTACKED], attacks, seed=SEED + 1, progress=progress)
    sets = {"clean": held_out.x, **{attack: found.x for attack, found in twins.items()}}
    return compared(name, guards, sets, rounds)


def compared(
    name: str, guards: dict[str, DetectedModel], sets: dict[str, NDArray[np.float32]], rounds: int
) -> list[dict[str, Any]]:
    """What the graphs of these gates make of the same images, the clean ones and their attacked twins."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {precision: Path(folder) / f"{precision}.onnx" for precision in guards}
        parity = {precision: guard.export(paths[precision]).to_dict() for precision, guard in guards.items()}
        found = {p: {kind: Gate(path)(x) for kind, x in sets.items()} for p, path in paths.items()}
        graphs = {precision: path.read_bytes() for precision, path in paths.items()}
    rows = []
    for precision, guard in guards.items():
        rows.append({
            "subject": name,
            "precision": precision,
            "interventions": guard.manifest["signature"]["names"],
            "threshold": guard.threshold,
            "bytes": len(graphs[precision]),
            "time_by_batch": times(graphs["fp32"], graphs[precision], sets["clean"], rounds),
            "parity": parity[precision],
            **figures(found["fp32"], found[precision], guards["fp32"].threshold),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def figures(before: dict[str, GateResult], after: dict[str, GateResult], plain: float) -> dict[str, Any]:
    """Figures of a graph by its own threshold and by that of the graph in float32, ``plain``."""
    sets = {}
    clean = after["clean"]
    for kind, result in after.items():
        counted = np.ones(len(result.label), bool) if kind == "clean" else result.label != clean.label[:ATTACKED]
        sets[kind] = {
            "n": int(counted.sum()),
            "flagged": share(result.is_adversarial[counted]),
            "flagged_at_threshold_of_fp32": share(result.score[counted] > plain),
            "verdict_flips": share((before[kind].score > plain) != (result.score > plain)),
            "label_flips": share(before[kind].label != result.label),
        }
        if kind != "clean":
            sets[kind]["auroc"] = round(auroc(clean.score, result.score[counted]), 4)
    return {"clean": sets.pop("clean"), "attacks": sets}


def share(which: NDArray[np.bool_]) -> float:
    return round(float(which.mean()), 4)


def times(plain: bytes, graph: bytes, x: NDArray[np.float32], rounds: int) -> dict[str, float]:
    """Time of a graph over that of the one in float32 on as many images, on one thread, by batch size."""
    sessions, most = (opened(plain, 1), opened(graph, 1)), max(BATCHES)
    found = {}
    for batch in BATCHES:
        feeds = [{"input": x[i : i + batch]} for i in range(0, most, batch)]
        alone, other = (on_each(partial(session.run, None), feeds) for session in sessions)
        found[str(batch)] = round(ratios(alone, [other], rounds=rounds)[0], 3)
    return found


if __name__ == "__main__":
    main()
