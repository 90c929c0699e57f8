"""The exported graph against PyTorch on 2,000 real inputs: differences of every output, and verdicts that flip.

    CE_DETECT_DATA=... python -m benchmarks.detection.detection --only cifar10-resnet20   # leaves the detectors
    CE_DETECT_DATA=... python -m benchmarks.detection.cascade                             # leaves one with a cascade
    CE_DETECT_DATA=... python -m benchmarks.serving.verify

Half are clean test images of CIFAR-10, half are attacked with what the detector knows; calibration saw none of them.
Also compares the size of the graph with that of the bare model's. Exits with 1 where a verdict flips or scores differ
by more than 1e-4. Writes ``results/verify.json``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.face import attack_all, parity
from benchmarks.machine import environment
from benchmarks.program import parser, progress, write
from benchmarks.serving.graphs import bare_graph
from benchmarks.subjects.settings import BUDGETS, CASCADED, SEED
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Attack, DetectedModel

RESULT = Path(__file__).parent / "results" / "verify.json"
INPUTS = 2000
ATTACKED = 192  # of each attack


def main() -> None:
    program = parser(__doc__)
    program.add_argument(
        "--guard", type=Path, nargs="+", help="artifacts of ResNet-20, by default those of detection.py"
    )
    options = program.parse_args()
    subject = SUBJECTS["cifar10-resnet20"]
    left = [*map(subject.artifact, BUDGETS), subject.artifact(CASCADED, cascade=True)]
    kept = options.guard or [path for path in left if path.exists()]
    if not kept:
        raise SystemExit("no detector of cifar10-resnet20: run detection.py first, or name one with --guard")
    rows = [verified(path) for path in kept]
    write(RESULT, {"environment": environment(), "rows": rows})
    sys.exit(0 if all(row["verdict_flips"] == 0 and row["score"] <= row["tolerance"] for row in rows) else 1)


def verified(path: Path) -> dict[str, Any]:
    """Differences of one detector, on each set and the largest of all."""
    subject = SUBJECTS["cifar10-resnet20"]
    _, fresh = subject.split()
    guard = DetectedModel.load(path, subject.model())
    attacks = tuple(Attack.of(**spec) for spec in guard.manifest["recipe"]["attacks"])
    twins = attack_all(guard.classifier, fresh.pixels[:ATTACKED], attacks, seed=SEED, progress=progress)
    sets = {name: twin.x for name, twin in twins.items()}
    sets["clean"] = fresh.pixels[: INPUTS - sum(map(len, sets.values()))]
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "guard.onnx"
        guard.export(graph, data=fresh.subset(slice(64)))
        opened, size = parity.session(graph), graph.stat().st_size
    found = {name: parity.differences(guard.gate, opened, x).to_dict() for name, x in sets.items()}
    bare = len(bare_graph(guard.model, torch.from_numpy(fresh.pixels[:2])))
    row: dict[str, Any] = {
        "guard": path.name,
        "head": guard.manifest["recipe"]["head"],
        "inputs": sum(one["inputs"] for one in found.values()),
        "tolerance": parity.SCORE_TOLERANCE,
        **{name: max(one[name] for one in found.values()) for name in ("logits", "score", "p_value", "probability")},
        **{name: sum(one[name] for one in found.values()) for name in ("label_flips", "verdict_flips", "either")},
        "margin": min(one["margin"] for one in found.values()),
        "bytes": size,
        "bare_bytes": bare,
        "sets": found,
    }
    print(json.dumps({key: value for key, value in row.items() if key != "sets"}), flush=True)
    return row


if __name__ == "__main__":
    main()
