"""The exported graph against PyTorch on 2,000 real inputs: differences of every output, and verdicts that flip.

    CE_DETECT_DATA=... python benchmarks/detection.py --suite full --only cifar10-resnet20   # leaves the detectors
    CE_DETECT_DATA=... python benchmarks/cascade.py                                          # leaves one with a cascade
    CE_DETECT_DATA=... python benchmarks/verify.py

Half are clean test images of CIFAR-10, half are attacked with what the detector knows; calibration saw none of them.
Also compares the size of the graph with that of the bare model's. Exits with 1 where a verdict flips or scores differ
by more than 1e-4. Writes ``results/verify.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import torch
from detection import BUDGETS, RESULTS, environment, progress
from serving import bare_graph
from subjects import CASCADED, SEED, SUBJECTS

from ce_detect import Attack, DetectedModel
from ce_detect.attacks.generation import attack_all
from ce_detect.export import parity

INPUTS = 2000
ATTACKED = 192  # of each attack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--guard", type=Path, nargs="+", help="artifacts of ResNet-20, by default those of detection.py"
    )
    options = parser.parse_args()
    subject = SUBJECTS["cifar10-resnet20"]
    left = [*map(subject.artifact, BUDGETS), subject.artifact(CASCADED, cascade=True)]
    kept = options.guard or [path for path in left if path.exists()]
    if not kept:
        raise SystemExit("no detector of cifar10-resnet20: run detection.py first, or name one with --guard")
    rows = [verified(path) for path in kept]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "verify.json").write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
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
