"""What a counterfactual adds to a signature: the search's own ledger, with it and without.

    CE_DETECT_DATA=... python -m benchmarks.counterfactual.signature

The plain CNN of PneumoniaMNIST is calibrated twice with the recipe "quick", on the validation and test splits: neither
the classifier nor the pair was trained on them. Once a pair that was trained on the training split is offered. The
ledger says what each item costs in forward passes, what it gains over the free statistics alone, and what it adds
beside all that was chosen. Writes ``results/signature-pneumonia.json``; attacks are kept in the cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.counterfactual.subjects import SUBJECTS, pair
from benchmarks.face import Floats, by_family
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write
from benchmarks.subjects.images import data_folder
from benchmarks.subjects.networks import pneumonia_cnn
from ce_detect import DetectedModel, load_data

RESULT = Path(__file__).parent / "results" / "signature-pneumonia.json"

RECIPE, BUDGET, FPR = "quick", 4.0, 0.05


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--images", type=int, default=738)
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    x = pixels()[: options.images]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cf.safetensors"
        pair(SUBJECTS["pneumonia"]).save(path)
        found = {name: _ledger(calibrated(x, offered)) for name, offered in (("without", None), ("with", path))}
    write(RESULT, {"environment": environment(), "images": len(x), "budget": BUDGET, **found})
    print(found)


def pixels() -> Floats:
    """Validation and test images, in a random order."""
    parts = [load_data(str(data_folder() / "pneumoniamnist.npz"), split=split).x for split in ("val", "test")]
    return np.concatenate(parts)[np.random.default_rng(0).permutation(sum(map(len, parts)))]


def calibrated(x: Floats, offered: Path | None = None) -> DetectedModel:
    """A gate for the plain CNN; its search is offered a pair where one is given."""
    return DetectedModel(pneumonia_cnn(), bounds=(0.0, 1.0)).calibrate(
        x, recipe=RECIPE, fpr=FPR, budget=BUDGET, counterfactual=offered, progress=progress
    )


def _ledger(guard: DetectedModel) -> dict[str, Any]:
    searched, tested = guard.manifest["search"], guard.manifest["figures"]["test"]
    ours = [entry for entry in searched["considered"] if entry["family"] in ("counterfactual", "fakeness")]
    best = [entry for entry in by_family(searched["considered"]).values() if entry not in ours]
    return {
        "free": searched["free"],
        "objective": searched["objective"],
        "chosen": [entry["name"] for entry in searched["chosen"]],
        "considered": [*ours, *best],
        "attacks": tested["attacks"],
    }


if __name__ == "__main__":
    main()
