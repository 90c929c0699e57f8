"""Which interventions are worth their cost: what the search measures of every candidate, summed up by family.

    CE_DETECT_DATA=... python -m benchmarks.detection.interventions                        # CIFAR-10, ResNet-20
    CE_DETECT_DATA=... python -m benchmarks.detection.interventions --subject fashion

Calibrates as ``detection.py`` does, with its cache of attacked images. A gain is that of the search's objective: the
mean AUROC on *select*, over attacks that the fit saw and over each attack that it did not. Writes
``results/interventions.json``, or ``results/interventions-<subject>.json``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.face import WORTH, by_family
from benchmarks.machine import environment
from benchmarks.program import markdown, parser, progress, quiet, write
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS

RESULTS = Path(__file__).parent / "results"
DEFAULT = "cifar10-resnet20"


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--subject", choices=tuple(SUBJECTS), default=DEFAULT)
    program.add_argument("--budget", type=float, default=2.0)
    options = program.parse_args()
    quiet()
    subject = SUBJECTS[options.subject]
    first, _ = subject.split()
    guard = subject.guard(first.pixels.shape[1:])
    start = time.perf_counter()
    guard.calibrate(first, recipe=subject.recipe, fpr=FPR, budget=options.budget, seed=SEED, progress=progress)
    found = guard.manifest["search"]
    families = {family: {**best, "worth": worth(best)} for family, best in by_family(found["considered"]).items()}
    outcome = {
        "what": f"{subject.title}: cost in forward passes, gain in the search's objective over the free statistics, "
        "and what a candidate adds to all others that were chosen",
        "subject": subject.name,
        "environment": environment(),
        "seed": SEED,
        "budget": options.budget,
        "seconds": round(time.perf_counter() - start, 1),
        "cost": guard.manifest["figures"]["cost"],
        **found,
        "families": families,
    }
    name = "interventions" if subject.name == DEFAULT else f"interventions-{subject.name}"
    write(RESULTS / f"{name}.json", outcome)
    show(families)


def worth(entry: dict[str, Any]) -> str:
    """What became of the best of a family."""
    if entry["chosen"]:
        return "chosen"
    if entry["adds"] < WORTH:
        return "adds nothing to what was chosen"
    if not entry["exportable"]:
        return "cannot be exported"
    return "adds too little for its cost" if entry["affordable"] else "dearer than the budget"


def show(families: dict[str, dict[str, Any]]) -> None:
    """Print one row a family."""
    lines = [["family", "best candidate", "cost", "gain over free statistics", "adds to what was chosen", ""]]
    for family, best in sorted(families.items(), key=lambda item: -item[1]["gain"]):
        lines.append(
            [family, best["name"], best["cost"], f"{best['gain']:+.4f}", f"{best['adds']:+.4f}", best["worth"]]
        )
    print(markdown(lines))


if __name__ == "__main__":
    main()
