"""Which interventions are worth their cost: what the search measures of every candidate, summed up by family.

    CE_DETECT_DATA=... python benchmarks/interventions.py                        # CIFAR-10, ResNet-20
    CE_DETECT_DATA=... python benchmarks/interventions.py --subject fashion

Calibrates as ``detection.py`` does, with its cache of attacked images. A gain is that of the search's objective: the
mean AUROC on *select*, over attacks that the fit saw and over each attack that it did not. Writes
``results/interventions.json``, or ``results/interventions-<subject>.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from detection import FPR, RESULTS, environment, progress
from subjects import SEED, SUBJECTS

from ce_detect.calibrate.search.search import WORTH, by_family

DEFAULT = "cifar10-resnet20"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", choices=tuple(SUBJECTS), default=DEFAULT)
    parser.add_argument("--budget", type=float, default=2.0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="art")
    logging.basicConfig(level=logging.WARNING)
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
    RESULTS.mkdir(exist_ok=True)
    name = "interventions" if subject.name == DEFAULT else f"interventions-{subject.name}"
    (RESULTS / f"{name}.json").write_text(json.dumps(outcome, indent=1) + "\n")
    table(families)


def worth(entry: dict[str, Any]) -> str:
    """What became of the best of a family."""
    if entry["chosen"]:
        return "chosen"
    if entry["adds"] < WORTH:
        return "adds nothing to what was chosen"
    if not entry["exportable"]:
        return "cannot be exported"
    return "adds too little for its cost" if entry["affordable"] else "dearer than the budget"


def table(families: dict[str, dict[str, Any]]) -> None:
    print("| family | best candidate | cost | gain over free statistics | adds to what was chosen | |")
    print("|---|---|---|---|---|---|")
    for family, best in sorted(families.items(), key=lambda item: -item[1]["gain"]):
        cells = [family, best["name"], best["cost"], f"{best['gain']:+.4f}", f"{best['adds']:+.4f}", best["worth"]]
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
