"""What a counterfactual adds to a detector under attackers who know all of it, beside what it adds on ordinary attacks.

    CE_DETECT_DATA=... python -m benchmarks.counterfactual.adaptive --images 60 --steps 40

Four signatures on the plain CNN of PneumoniaMNIST: what a search chose (see ``signature.py``); the same with fakeness;
with fakeness and do(show as the other class); and these two alone, beside the free statistics. Each gets a head and a
threshold on the same images. Then each is attacked on images that no calibration saw. Writes
``results/adaptive-pneumonia.json`` after each.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.adaptive.attackable import Scored
from benchmarks.counterfactual.signature import BUDGET, FPR, RECIPE, calibrated, pixels
from benchmarks.counterfactual.subjects import SUBJECTS, pair
from benchmarks.detection.measures import mean
from benchmarks.face import (
    Alone,
    CalibrationData,
    Fakeness,
    Images,
    MakeCounterfactual,
    Pixels,
    Plan,
    Signature,
    Target,
    auroc,
    counterfactual,
    divided,
    feature_tables,
    fused_head,
    prepare,
    redteam,
)
from benchmarks.program import parser, progress, quiet, resumed
from benchmarks.subjects.settings import SEED
from ce_detect import CalibrationSettings, DetectedModel, Recipe

RESULT = Path(__file__).parent / "results" / "adaptive-pneumonia.json"

CALIBRATED = 660
"""Images that calibrate, the first ones; the next are attacked."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--images", type=int, default=60)
    program.add_argument("--steps", type=int, default=40)
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    x = pixels()
    first, attacked = x[:CALIBRATED], x[CALIBRATED : CALIBRATED + options.images]
    guard, made = calibrated(first), pair(SUBJECTS["pneumonia"])
    settings = CalibrationSettings.of(recipe=RECIPE, fpr=FPR, budget=BUDGET, seed=SEED, progress=progress)
    data = prepare(guard.classifier, divided(Images(first, None), settings), settings)
    plan = Plan(least=0.125 / 255, steps=options.steps, decisions=0, queries=300, seed=SEED)
    asked = {"images": len(attacked), "steps": options.steps, "fpr": FPR, "within": list(plan.within)}
    makers = {
        name: partial(measured, guard, signature, data, attacked, plan)
        for name, signature in signatures(guard, made).items()
    }
    for name, row in resumed(RESULT, "signatures", asked, makers):
        print(name, {key: row[key] for key in ("auroc", "ratio", "within")}, flush=True)


def signatures(guard: DetectedModel, made: counterfactual.Counterfactual) -> dict[str, Signature]:
    """What is compared, by name."""
    chosen, classifier = guard.gate.signature, guard.classifier
    fakeness, shown = Fakeness.of(made, classifier), MakeCounterfactual.of(made)
    free = {"sites": chosen.statistics.sites, "layer_consistency": chosen.layer_consistency, "shapley": chosen.shapley}
    kept = list(chosen.interventions)
    return {
        "chosen": Signature(classifier, kept, **free),
        "chosen, fakeness": Signature(classifier, kept, **free, fakeness=fakeness),
        "chosen, fakeness, counterfactual": Signature(classifier, [*kept, shown], **free, fakeness=fakeness),
        "fakeness, counterfactual": Signature(classifier, [shown], **free, fakeness=fakeness),
    }


def measured(
    guard: DetectedModel, signature: Signature, data: CalibrationData, attacked: np.ndarray, plan: Plan
) -> dict[str, Any]:
    """A head on the signature, on ordinary attacks and under those that know it."""
    start = time.perf_counter()
    fit, select = (feature_tables.table(signature, data.sets[split]) for split in ("fit", "select"))
    head = fused_head(signature, (fit, select), Recipe.load(RECIPE).head, SEED)

    def score(x: Tensor, logits: Tensor) -> Tensor:
        scores: Tensor = head(signature(x)[1])
        return scores

    target = Scored(guard.classifier, score, data.clean("calibrate"), FPR)
    report = redteam(target, Alone(guard.classifier), attacked, plan, check=False, progress=progress)
    ordinary = on_ordinary_attacks(target, data)
    return {
        "interventions": [made.name for made in signature.interventions],
        "auroc": mean(ordinary.values()),
        "attacks": ordinary,
        "ratio": {"value": report.ratio.value, "low": report.ratio.low, "high": report.ratio.high},
        "within": [
            {"eps": row.eps, "auroc": row.auroc and [row.auroc.value, row.auroc.low, row.auroc.high],
             "flagged": row.flagged, "fooled": row.fooled}
            for row in report.under_attack
        ],
        "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip


def on_ordinary_attacks(target: Target, data: CalibrationData) -> dict[str, float]:
    """AUROC of those of the recipe's attacks that fool, on the split that nothing was chosen by."""
    labels, clean = _judged(target, data.clean("test"))
    areas = {}
    for name, twins in data.tested.items():
        after, scores = _judged(target, twins.pixels)
        areas[name] = round(auroc(clean, scores[after != labels[twins.index]]), 4)
    return areas


def _judged(target: Target, x: Pixels) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        seen = [target.joint(torch.from_numpy(np.asarray(x[i : i + 64]))) for i in range(0, len(x), 64)]
    logits, scores = (torch.cat(part).numpy() for part in zip(*seen, strict=True))
    return logits.argmax(1), scores


if __name__ == "__main__":
    main()
