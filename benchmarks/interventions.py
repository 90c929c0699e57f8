"""Which interventions are worth their cost on CIFAR-10 with ResNet-20: cost and gain of every candidate, by family.

    CE_DETECT_DATA=... python benchmarks/interventions.py

Calibrates on the first 2,800 test images with the default recipe, as ``detection.py`` does (and with its cache of
attacked images), and reports what the search measured. A gain is that of the search's objective: the mean AUROC on
*select*, over attacks that the fit saw and over each attack that it did not. Writes ``results/interventions.json``.
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

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from detection import CALIBRATION_IMAGES, FPR, RESULTS, environment, progress
from networks import cifar10_resnet20, data_folder

from ce_detect import DetectedModel, load_data
from ce_detect.calibrate.search import WORTH, by_family


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="art")
    logging.basicConfig(level=logging.WARNING)
    first = load_data(str(data_folder() / "cifar10.npz"), split="test").subset(np.arange(CALIBRATION_IMAGES))
    guard = DetectedModel(cifar10_resnet20(), input_shape=(3, 32, 32), bounds=(0.0, 1.0))
    start = time.perf_counter()
    guard.calibrate(first.x, first.y, fpr=FPR, budget=options.budget, seed=options.seed, progress=progress)
    found = guard.manifest["search"]
    families = {family: {**best, "worth": worth(best)} for family, best in by_family(found["considered"]).items()}
    outcome = {
        "what": "CIFAR-10, ResNet-20: cost in forward passes, gain in the search's objective over the free statistics, "
        "and what a candidate adds to all others that were chosen",
        "environment": environment(),
        "seed": options.seed,
        "budget": options.budget,
        "seconds": round(time.perf_counter() - start, 1),
        **found,
        "families": families,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "interventions.json").write_text(json.dumps(outcome, indent=1) + "\n")
    table(families)


def worth(entry: dict[str, Any]) -> str:
    """What became of the best of a family."""
    if entry["chosen"]:
        return "chosen"
    if entry["adds"] < WORTH:
        return "adds nothing to what was chosen"
    return "adds something, at a cost that the budget did not have" if entry["exportable"] else "cannot be exported"


def table(families: dict[str, dict[str, Any]]) -> None:
    print("| family | best candidate | cost | gain over free statistics | adds to what was chosen | |")
    print("|---|---|---|---|---|---|")
    for family, best in sorted(families.items(), key=lambda item: -item[1]["gain"]):
        cells = [family, best["name"], best["cost"], f"{best['gain']:+.4f}", f"{best['adds']:+.4f}", best["worth"]]
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
