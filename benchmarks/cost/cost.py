"""What a gate costs: time of a gated forward over that of the model alone, at several batch sizes.

    CE_DETECT_DATA=... python -m benchmarks.detection.detection --suite full     # leaves the calibrated detectors
    CE_DETECT_DATA=... python -m benchmarks.cost.cost

Both are timed in turns in one run; the ratio is the median over the rounds. Run it on a machine that does nothing else.
Beside the model as its author wrote it stands the same model as the gate runs it (batch norms folded into convolutions,
channels-last on a CPU), and the parts of the gate: the free statistics alone, and the head alone. Writes
``results/cost.json``; rows of subjects that were not asked for stay.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.face import Compiled, Inference, Signature, ratios
from benchmarks.machine import environment
from benchmarks.program import parser, rows_left, write
from benchmarks.subjects.settings import BATCHES, BUDGETS
from benchmarks.subjects.subjects import SUBJECTS, Subject
from ce_detect import DetectedModel

RESULT = Path(__file__).parent / "results" / "cost.json"


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", choices=tuple(SUBJECTS), nargs="+", default=list(SUBJECTS))
    program.add_argument("--rounds", type=int, default=21)
    options = program.parse_args()
    rows = []
    for name in options.only:
        subject = SUBJECTS[name]
        kept = [budget for budget in BUDGETS if subject.artifact(budget).exists()]
        if not kept:
            print(f"no detector of {name}: run detection.py --only {name} first", file=sys.stderr)
        rows += [measured(subject, budget, options.rounds) for budget in kept]
    write(RESULT, {"environment": environment(), "rows": [*rows, *rows_left(RESULT, options.only)]})


def measured(subject: Subject, budget: float, rounds: int) -> dict[str, Any]:
    """Ratios of one gate, by batch size."""
    _, fresh = subject.split()
    guard = DetectedModel.load(subject.artifact(budget), subject.model())
    found = {str(batch): parts(guard, torch.from_numpy(fresh.pixels[:batch]), rounds) for batch in BATCHES}
    kept = all(ratio["gate"] <= budget for ratio in found.values())
    row = {"subject": subject.name, "budget": budget, "within_budget": kept, "ratio_by_batch": found}
    gates = ", ".join(f"batch {batch}: {ratio['gate']:.2f}" for batch, ratio in found.items())
    print(f"{subject.title}, budget {budget:g}: {gates}{'' if kept else '  ABOVE THE BUDGET'}", flush=True)
    return row


def parts(guard: DetectedModel, x: torch.Tensor, rounds: int) -> dict[str, float]:
    """Time of the gate and of its parts over that of the model alone."""
    gate, classifier, judge = guard.gate, guard.classifier, Inference(guard.gate).judge
    free = Compiled(Signature(classifier, [], chunk=gate.signature.chunk))
    with torch.inference_mode():
        logits, features = gate.signature(x)
        functions = {
            "gate": lambda: judge(x),
            "model_as_the_gate_runs_it": lambda: classifier.logits(x),
            "with_free_statistics": lambda: free(x),
            "head": lambda: gate.verdict(logits, features),
        }
        found = ratios(lambda: guard.model(x), list(functions.values()), rounds=rounds)
    return {name: round(ratio, 3) for name, ratio in zip(functions, found, strict=True)}


if __name__ == "__main__":
    main()
