"""What a gate costs in ONNX Runtime: time of the fused graph over that of the bare model's, at batches of 1, 8 and 32.

    CE_DETECT_DATA=... python -m benchmarks.detection.detection --suite full     # leaves the calibrated detectors
    CE_DETECT_DATA=... python -m benchmarks.serving.serving

Both graphs run in one process, in turns; the ratio is the median over the rounds. Run it on a machine that does nothing
else. ``kept`` says whether the ratio stays within 1.1 times the budget that the detector was calibrated for, ``small``
whether the graph is no larger than 1.1 times the bare one and 1 MB. A profile of ONNX Runtime says which operators and
nodes take the time of the fused graph. Writes ``results/serving.json``; rows of subjects that were not asked for stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.face import fused, ratios
from benchmarks.machine import environment
from benchmarks.program import parser, rows_left, write
from benchmarks.serving.graphs import bare_graph, opened, small
from benchmarks.subjects.settings import BATCHES, BUDGETS
from benchmarks.subjects.subjects import SUBJECTS, Subject
from ce_detect import DetectedModel

RESULT = Path(__file__).parent / "results" / "serving.json"
DEFAULT = ("cifar10-resnet20", "imagenet-lite0")
SLACK = 1.1
PROFILED = 50  # runs in a profile
SHOWN = 12  # operators, and nodes, in a profile


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", choices=tuple(SUBJECTS), nargs="+", default=list(DEFAULT))
    program.add_argument("--guard", type=Path, help="an artifact in the place of those of detection.py")
    program.add_argument("--rounds", type=int, default=41)
    program.add_argument("--threads", type=int, default=0, help="of ONNX Runtime; 0 for as many as there are cores")
    program.add_argument("--one-pass", action="store_true", help="interventions share one forward pass")
    options = program.parse_args()
    rows = []
    for name in options.only:
        subject = SUBJECTS[name]
        kept = [path for path in map(subject.artifact, BUDGETS) if path.exists()]
        kept = [options.guard] if options.guard else kept
        if not kept:
            print(f"no detector of {name}: run detection.py --only {name} first", file=sys.stderr)
        rows += [measured(subject, path, options) for path in kept]
    outcome = {
        "environment": {**environment(), "onnxruntime": onnxruntime.__version__},
        "rows": [*rows, *rows_left(RESULT, options.only)],
    }
    write(RESULT, outcome)


def measured(subject: Subject, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Ratios of one gate by batch size, and where the time goes."""
    _, fresh = subject.split()
    guard = DetectedModel.load(path, subject.model())
    graph = fused(guard.gate, guard.manifest, one_pass=options.one_pass).SerializeToString()
    bare = bare_graph(guard.model, torch.from_numpy(fresh.pixels[:2]))
    gated, alone = opened(graph, options.threads), opened(bare, options.threads)
    budget = guard.manifest["budget"]
    found = {}
    for batch in BATCHES:
        feed = {"input": fresh.pixels[:batch]}
        (ratio,) = ratios(lambda f=feed: alone.run(None, f), [lambda f=feed: gated.run(None, f)], rounds=options.rounds)
        found[str(batch)] = round(ratio, 3)
    kept = budget is None or max(found.values()) <= budget * SLACK
    print(
        f"{subject.title}, {path.name}: {found}, budget {budget}{'' if kept else '  ABOVE 1.1 TIMES THE BUDGET'}",
        flush=True,
    )
    profiles = {str(batch): profile(graph, fresh.pixels[:batch], options.threads) for batch in BATCHES}
    return {
        "subject": subject.name, "guard": path.name, "budget": budget, "torch_cost": guard.manifest["figures"]["cost"],
        "kept": kept, "ratio_by_batch": found, "nodes": len(onnx.load_from_string(graph).graph.node),
        "bytes": len(graph), "bare_bytes": len(bare), "small": small(len(graph), len(bare)),
        "profile_by_batch": profiles,
    }  # fmt: skip


def profile(graph: bytes, x: NDArray[np.float32], threads: int) -> dict[str, Any]:
    """Microseconds a run, and the share of each operator and of the slowest nodes."""
    with tempfile.TemporaryDirectory() as folder:
        session = opened(graph, threads, str(Path(folder) / "profile"))
        for _ in range(PROFILED):
            session.run(None, {"input": x})
        events = json.loads(Path(session.end_profiling()).read_text())
    operators: Counter[str] = Counter()
    nodes: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            operators[event["args"]["op_name"]] += event["dur"]
            nodes[event["name"].removesuffix("_kernel_time")] += event["dur"]
    total = sum(operators.values())
    return {
        "microseconds": round(total / PROFILED, 1),
        "operators": {name: round(time / total, 4) for name, time in operators.most_common(SHOWN)},
        "nodes": {name: round(time / total, 4) for name, time in nodes.most_common(SHOWN)},
    }


if __name__ == "__main__":
    main()
