"""AUROC under adaptive attack: an attacker who knows the detector fools the classifier and makes the score low.

    CE_DETECT_DATA=... python -m benchmarks.adaptive.under_attack --images 100 --steps 40
    CE_DETECT_DATA=... python -m benchmarks.adaptive.under_attack --only "budget 3, hardened" energy
    CE_DETECT_DATA=... python -m benchmarks.adaptive.under_attack --only "budget 2" --then "jpeg 2"

Within 2, 4 and 8 of 255; of each image the lowest score counts that any attack found, see
`ce_detect.redteam.under_attack`. *Disagreement* is PID (arXiv 2506.03765) with the hardened copy of our gate as its
auxiliary: the probability that the copy gives to the classifier's answer, without anything of ours. Detectors that are
in the result already, made with the same settings, are not done again. Writes ``results/under-attack-<subject>.json``.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.adaptive.attackable import PEERS, Score, Scored
from benchmarks.adaptive.bench import BUDGET, HARDENED, LARGE, Bench
from benchmarks.face import (
    WHITE_BOX,
    Case,
    Gated,
    Images,
    Plan,
    RobustCopy,
    Target,
    Trial,
    treated_attack,
    under_attack,
)
from benchmarks.program import parser, progress, quiet, resumed
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS

RESULTS = Path(__file__).parent / "results"
GATES = {
    f"budget {budget:g}{', hardened' if rounds else ''}": (budget, rounds)
    for budget, rounds in ((BUDGET, 0), (BUDGET, 1), (HARDENED, 1), (LARGE, 1))
}
"""Budget and rounds of hardening of our gates."""

DISAGREEMENT = "disagreement"
"""The probability of the hardened copy in the gate of `HARDENED`."""

DEFAULT = (f"budget {BUDGET:g}", "energy", "max-softmax", "mahalanobis")
"""What needs no training of a copy, and of the peers those that are quick; the others take `--only`."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--subject", choices=tuple(SUBJECTS), default="cifar10-resnet20")
    program.add_argument("--only", nargs="+", choices=(*GATES, DISAGREEMENT, *PEERS), default=DEFAULT)
    program.add_argument("--images", type=int, default=100)
    program.add_argument("--steps", type=int, default=40)
    program.add_argument("--then", help="images are saved or scaled so before they are judged, as the attacker expects")
    options = program.parse_args()
    quiet()
    plan = Plan(steps=options.steps, then=(options.then,) if options.then else (), seed=SEED)
    bench = Bench(SUBJECTS[options.subject], options.images, options.steps)
    settings = {"images": options.images, "steps": options.steps, "within": list(plan.within), "fpr": FPR}
    path = RESULTS / f"under-attack-{options.subject}.json"
    more = f", then {options.then}" if options.then else ""
    makers = {f"{name}{more}": partial(measured, bench, name, plan) for name in options.only}
    for name, row in resumed(path, "detectors", settings, makers):
        print(name, [(found["fooled"], found["auroc"]) for found in row["within"]], flush=True)


def target(bench: Bench, name: str) -> Target:
    """What is attacked."""
    if name in GATES:
        return Gated(bench.calibrated(*GATES[name]).gate)
    found = bench.data()
    if name == DISAGREEMENT:
        score = disagreement(bench)
    else:
        images = found.images.subset(found.parts["fit"])
        score = PEERS[name](bench.guard.classifier, Images(images.x, images.y), found.sets["fit"].attacked)
    return Scored(bench.guard.classifier, score, found.clean("calibrate"), FPR)


def disagreement(bench: Bench) -> Score:
    """How little the hardened copy believes in the classifier's answer, as log-probability."""
    signature = bench.calibrated(HARDENED, 1).gate.signature
    (copy,) = (made for made in signature.interventions if isinstance(made, RobustCopy))

    def score(x: Tensor, logits: Tensor) -> Tensor:
        robust = signature.classifier.resume(copy.site, copy(x), x)
        return -robust.log_softmax(1).gather(1, logits.argmax(1, keepdim=True))[:, 0]

    return score


def measured(bench: Bench, name: str, plan: Plan) -> dict[str, Any]:
    """Figures of one detector."""
    detector, start = target(bench, name), time.perf_counter()
    x = torch.from_numpy(bench.x)
    trial = Trial(detector, detector, Case.of(bench.alone, x), WHITE_BOX, plan)
    shown = partial(progress, "under attack")
    found = [treated_attack(trial, treatment, shown) for treatment in plan.treatments]
    rows = [asdict(row) for row in (found[0] if found else under_attack(trial, np.full(len(x), np.inf), shown))]
    return {"images": len(x), "within": rows, "seconds": round(time.perf_counter() - start, 1)}


if __name__ == "__main__":
    main()
