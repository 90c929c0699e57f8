"""False alarms under natural change, and on controls of attacks; budget 2.0, 5 % asked.

    CE_DETECT_DATA=... python -m benchmarks.natural.natural
    CE_DETECT_DATA=... python -m benchmarks.natural.natural --only cifar10-resnet20 --seeds 0 1 2

Every clean image that did not calibrate is judged under each kind at both severities. *Learned* kinds are those that
the recipe names; the others never serve calibration. Controls are perturbations as large as an attack's that are no
attack: its own with the pixels shuffled, uniform noise, random signs. Writes ``results/natural-<subject>.json``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.detection.measures import mean, resplits
from benchmarks.face import MILD, Floats, auroc, controls, generator_for, judge, mixture, share_above
from benchmarks.natural.gates import Judged, program
from benchmarks.subjects.settings import FPR, SEED
from ce_detect import Recipe


def main() -> None:
    program(__doc__, "natural", "share flagged after natural change and of controls; 5 % asked", measured)


def measured(found: Judged) -> dict[str, Any]:
    """Everything measured of one gate."""
    gate, x = found.guard.gate, found.fresh.x
    bounds = found.guard.classifier.bounds
    clean = judge(gate, x)
    kinds, changed = {}, []
    for corruption in MILD:
        judged = judge(gate, corruption(x, bounds=bounds, seed=SEED))
        changed.append(judged.score)
        kinds[corruption.name] = {
            "learned": corruption.taught,
            "flagged": round(share_above(judged.score, judged.threshold), 4),
            "decision_changed": round(float((judged.label != clean.label).mean()), 4),
        }
    beside = np.concatenate([clean.score, *changed])
    attacks = {name: _against(found, name, clean, beside) for name in found.attacked}
    recipe = Recipe.load(found.subject.recipe)

    def mixed(pixels: Floats) -> Floats:
        return mixture(pixels, recipe.corruptions, share=recipe.corrupted, bounds=bounds, seed=SEED)

    return {
        "summary": summary(kinds, attacks),
        "plain": round(share_above(clean.score, clean.threshold), 4),
        "misclassified": None if found.fresh.y is None else _flagged_where(clean, clean.label != found.fresh.y),
        "correct": None if found.fresh.y is None else _flagged_where(clean, clean.label == found.fresh.y),
        "kinds": kinds,
        "attacks": attacks,
        "resplits_of_mixture": resplits(found.guard, found.first, found.fresh, FPR, mixed=mixed),
    }


def summary(kinds: dict[str, Any], attacks: dict[str, Any]) -> dict[str, Any]:
    """Means and worst of both halves of the kinds, and of the controls."""
    found: dict[str, Any] = {}
    for half, learned in (("learned", True), ("held_out", False)):
        some = {name: kind["flagged"] for name, kind in kinds.items() if kind["learned"] == learned}
        worst = max(some, key=lambda name: some[name])
        found[half] = {"mean": mean(some.values()), "worst": some[worst], "worst_kind": worst}
        found[half]["above_10"] = [name for name, flagged in some.items() if flagged > 0.1]
    found["attack_against_control"] = {
        "mean": mean(row["auroc_against_shuffled"] for row in attacks.values()),
        "worst": min(row["auroc_against_shuffled"] for row in attacks.values()),
    }
    found["auroc_against_clean_and_natural"] = mean(row["auroc_against_clean_and_natural"] for row in attacks.values())
    return found


def _flagged_where(clean: Any, where: Any) -> float:
    return round(share_above(clean.score[where], clean.threshold), 4)


def _against(found: Judged, name: str, clean: Any, beside: Floats) -> dict[str, float]:
    """One attack against clean, natural and control images."""
    gate, twins = found.guard.gate, found.attacked[name]
    bounds = found.guard.classifier.bounds
    images, attacked = found.fresh.x[twins.index], controls.rounded(twins.x, bounds)
    judged = judge(gate, attacked)
    scores = judged.score[judged.label != clean.label[twins.index]]
    eps = [float(np.abs(twin - image).max()) for image, twin in zip(images, attacked, strict=True)]
    draws = [generator_for(SEED, f"control {name}", image) for image in images]
    made = {
        "shuffled": [
            controls.shuffled(image, twin - image, bounds=bounds, generator=draw)
            for image, twin, draw in zip(images, attacked, draws, strict=True)
        ],
        "uniform": [
            controls.uniform(image, size, bounds=bounds, generator=draw)
            for image, size, draw in zip(images, eps, draws, strict=True)
        ],
        "signs": [
            controls.signs(image, size, bounds=bounds, generator=draw)
            for image, size, draw in zip(images, eps, draws, strict=True)
        ],
    }
    figures = {
        "successes": round(len(scores) / len(attacked), 4),
        "auroc": round(auroc(clean.score, scores), 4),
        "auroc_against_clean_and_natural": round(auroc(beside, scores), 4),
        "flagged": round(share_above(scores, judged.threshold), 4),
    }
    for kind, control in made.items():
        of = judge(gate, np.stack(control))
        figures[f"{kind}_flagged"] = round(share_above(of.score, of.threshold), 4)
        figures[f"auroc_against_{kind}"] = round(auroc(of.score, scores), 4)
    return figures


if __name__ == "__main__":
    main()
