"""What `detection.py` measures of one gate: detection, cost, the train x test matrix, and redraws of the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from benchmarks.face import (
    AttackedSet,
    Floats,
    Images,
    Inference,
    Mapped,
    Pixels,
    Scores,
    Sets,
    Table,
    attack_all,
    auroc,
    conformal,
    evaluate,
    features,
    intervals,
    judge,
    matrix,
    ratios,
    rows,
    split_by_identity,
    tpr_at,
)
from benchmarks.subjects.settings import BATCHES, FPR, SEED
from ce_detect import DetectedModel, Recipe

MATRIX_BUDGET = 2.0
"""Budget at which the train x test matrix is measured too."""

RESPLITS = 50
"""Draws of the images that set the threshold."""

DRAWS = 500
"""Bootstrap draws of an interval."""


def figures(
    guard: DetectedModel,
    budget: float,
    first: Images,
    fresh: Images,
    attacked: dict[str, AttackedSet],
    recipe: Recipe,
    *,
    crossed: bool = False,
) -> dict[str, Any]:
    """Everything measured at one budget; where it is asked for, also the train x test matrix, at `MATRIX_BUDGET`."""
    report = evaluate(guard.gate, fresh.pixels, fresh.y, attacked, target=FPR)
    groups = {"seen": [attack.name for attack in recipe.attacks]}
    groups["unseen"] = [name for name in attacked if name not in groups["seen"]]
    cost = costs(guard, fresh)
    found: dict[str, Any] = {
        "budget": None if math.isinf(budget) else budget,
        "summary": {
            "cost": cost["32"],
            "false_positive_rate": round(report.clean.false_positive_rate, 4),
            **means(report.attacks, groups),
            "auroc_cw": round(report.attacks["cw-l2"].auroc_successes, 4),
        },
        "intervals_95": bootstrap(successes(guard, fresh, attacked), groups),
        "cost_by_batch": cost,
        "cost_against_folded_model": folded(guard, fresh),
        "interventions": guard.manifest["signature"]["names"],
        "sites": guard.manifest["signature"]["sites"],
        "search": guard.manifest["search"],
        "resplits": resplits(guard, first, fresh, FPR),
        "report": report.to_dict(),
    }
    if crossed and budget == MATRIX_BUDGET:
        found["matrix"] = train_test(guard, first, fresh, attacked, recipe)
    return found


def means(attacks: dict[str, Any], groups: dict[str, list[str]]) -> dict[str, Any]:
    """Means over seen and over unseen attacks, and the worst of each."""
    found: dict[str, Any] = {}
    for group, names in groups.items():
        some = [attacks[name] for name in names]
        found |= {
            f"auroc_{group}": mean(f.auroc_successes for f in some),
            f"tpr_at_1_{group}": mean(f.tpr_at_1 for f in some),
            f"tpr_at_5_{group}": mean(f.tpr_at_5 for f in some),
            f"auroc_{group}_clean_only": mean(f.clean_only.auroc_successes for f in some if f.clean_only is not None),
            f"worst_{group}": min(names, key=lambda name: attacks[name].auroc_successes),
        }
    return found


def mean(values: Iterable[float]) -> float:
    """Mean of some figures, rounded."""
    return round(float(np.mean(list(values))), 4)


def successes(guard: DetectedModel, fresh: Images, attacked: dict[str, AttackedSet]) -> Scores:
    """Scores of all clean images and of the successful attempts."""
    clean = judge(guard.gate, fresh.pixels)
    found = {}
    for name, twins in attacked.items():
        judged = judge(guard.gate, twins.pixels)
        success = judged.label != clean.label[twins.index]
        found[name] = judged.score[success], twins.index[success]
    return Scores(clean.score, found)


def bootstrap(scores: Scores, groups: dict[str, list[str]]) -> dict[str, list[float]]:
    """Bootstrap intervals of each attack's AUROC, and of the means over seen and over unseen attacks."""

    def area(names: list[str]) -> Any:
        return lambda drawn: float(np.mean([auroc(drawn.clean, drawn.attacked[name][0]) for name in names]))

    def rate(names: list[str], fpr: float) -> Any:
        return lambda drawn: float(np.mean([tpr_at(drawn.clean, drawn.attacked[name][0], fpr) for name in names]))

    wanted = {f"auroc {name}": area([name]) for names in groups.values() for name in names}
    for group, names in groups.items():
        wanted |= {f"auroc {group}": area(names)}
        wanted |= {f"tpr_at_{percent} {group}": rate(names, percent / 100) for percent in (1, 5)}
    found = intervals(scores, wanted, draws=DRAWS, seed=SEED)
    return {key: [round(end, 4) for end in ends] for key, ends in found.items()}


def train_test(
    guard: DetectedModel, first: Images, fresh: Images, attacked: dict[str, AttackedSet], recipe: Recipe
) -> dict[str, dict[str, float]]:
    """The train x test matrix over attacks, with the signature of the gate."""
    gate = guard.gate
    parts = split_by_identity(first.pixels, recipe.splits, SEED)
    sets = {}
    for name in ("fit", "select"):
        x = rows(first.pixels, parts[name])
        twins = attack_all(guard.classifier, x, recipe.attacks, seed=SEED)
        sets[name] = Sets(x, {key: successful(guard, x, value) for key, value in twins.items()})
    judged = Table(
        features(gate.signature, fresh.pixels),
        {
            key: features(gate.signature, successful(guard, fresh.pixels, value).pixels)
            for key, value in attacked.items()
        },
    )
    found = matrix(gate.signature, sets, judged, kind=recipe.head, seed=SEED)
    return {row: {key: round(value, 4) for key, value in columns.items()} for row, columns in found.items()}


def successful(guard: DetectedModel, x: Pixels, twins: AttackedSet) -> AttackedSet:
    """Those attempts that changed the decision."""
    labels, attacked = (judge(guard.gate, pixels).label for pixels in (x, twins.pixels))
    return twins.subset(attacked != labels[twins.index])


def costs(guard: DetectedModel, fresh: Images) -> dict[str, float]:
    """Time of a gated forward over that of the model alone, by batch size."""
    found, run = {}, Inference(guard.gate).judge
    with torch.inference_mode():
        for batch in BATCHES:
            x = torch.from_numpy(fresh.pixels[:batch])
            found[str(batch)] = round(ratios(lambda x=x: guard.model(x), [lambda x=x: run(x)], rounds=21)[0], 3)
    return found


def folded(guard: DetectedModel, fresh: Images) -> float:
    """The same at batch 32 against the model as the gate runs it: batch norms folded, channels last."""
    x, run = torch.from_numpy(fresh.pixels[:32]), Inference(guard.gate).judge
    with torch.inference_mode():
        return round(ratios(lambda: guard.classifier.logits(x), [lambda: run(x)], rounds=21)[0], 3)


def resplits(
    guard: DetectedModel,
    first: Images,
    fresh: Images,
    fpr: float,
    calibration_images: int | None = None,
    *,
    mixed: Callable[[Floats], Floats] = lambda x: x,
) -> dict[str, Any]:
    """Redraw which of the clean images that no head was fitted on set the threshold; judge the rest, 50 times.

    With ``mixed``, which changes images as the recipe's mixture does, the threshold is the larger of two, and the rate
    is that of the mixture.

    Both parts are finite, so the realised rate scatters about the true one: a promise about the true rate that holds
    with 95 % leaves the realised rate above the target somewhat more often than in 5 % of the draws.
    """
    parts = split_by_identity(first.pixels, guard.manifest["recipe"]["splits"], guard.manifest["seed"])
    held_out = [rows(first.pixels, parts["calibrate"]), rows(first.pixels, parts["test"]), fresh.pixels]
    plain, changed = (
        np.concatenate([judge(guard.gate, Mapped(x, change)).score for x in held_out if len(x)])
        for change in (lambda x: x, mixed)
    )
    n = calibration_images or len(parts["calibrate"])
    realised = []
    for draw in range(RESPLITS):
        order = np.random.default_rng(draw).permutation(len(plain))
        threshold = max(conformal.threshold(scores[order[:n]], fpr) for scores in (plain, changed))
        realised.append(float(np.mean(changed[order[n:]] > threshold)))
    return {
        "target": fpr,
        "calibration_images": n,
        "fresh_images": len(plain) - n,
        "mean": round(float(np.mean(realised)), 4),
        "largest": round(max(realised), 4),
        "share_within_target": float(np.mean(np.asarray(realised) <= fpr)),
    }
