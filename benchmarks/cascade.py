"""What a cascade would save and lose: inputs that the free statistics clear get no intervention.

    python benchmarks/cascade.py

A first detector reads the free statistics of one forward pass; inputs whose first score is at most a clearing threshold
pass, the others are judged by the whole detector. The clearing threshold is a quantile of first scores on clean images
that serve nothing else, and the final threshold an order statistic of the *cascade's* scores on clean images, where
what is cleared scores lowest. The cascade is then one fixed score of an input, so the promise is that of
`ce_detect.detector.conformal`. The amortised cost follows from the shares that go on, by share of attacked traffic.
On the embedded classifier; writes ``results/cascade.json``.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect import Attack, DetectedModel, Recipe, load_data, load_model
from ce_detect.calibrate.sets import attack_all
from ce_detect.detector import conformal
from ce_detect.evaluate.report import judge

RESULTS = Path(__file__).parent / "results"
CLEARED = (0.0, 0.5, 0.8, 0.95)
ATTACKED = (0.0, 0.01, 0.1, 0.5, 1.0)
PASSED = np.float32(np.finfo(np.float32).min)
"""Score of what is cleared: below any other, and finite."""

COMMON: dict[str, Any] = {
    "head": "logistic",
    "splits": {"fit": 0.5, "select": 0.2, "calibrate": 0.3, "test": 0.0},
    "attack": [{"kind": "fgsm"}, {"kind": "pgd", "max_iter": 10}],
}
INTERVENTIONS = [{"kind": "Flip"}, {"kind": "Shift", "dx": 1, "dy": 0}, {"kind": "Blur", "sigma": 0.7}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=int, default=1000, help="images that both detectors learn from")
    parser.add_argument("--attacked", type=int, default=200, help="test images that are attacked")
    parser.add_argument("--fpr", type=float, default=0.05)
    options = parser.parse_args()
    images = load_data("demo")
    learned, held_out = images.subset(slice(options.calibration)), images.x[options.calibration :]
    free = guard(learned, options.fpr, [])
    whole = guard(learned, options.fpr, INTERVENTIONS)
    choosing, calibrating, testing = np.array_split(held_out, [len(held_out) // 4, 5 * len(held_out) // 8])

    def both(sets: dict[str, NDArray[np.float32]]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        return {name: (judge(free.gate, x).score, judge(whole.gate, x).score) for name, x in sets.items()}

    clean = both({"choosing": choosing, "calibrating": calibrating, "testing": testing})
    attacked = both(twins(free, testing[: options.attacked]))
    costs = [float(one.manifest["figures"]["cost"]) for one in (free, whole)]
    outcome = {
        "what": "cascade of free statistics and the whole detector, FashionCNN",
        "fpr": options.fpr,
        "cost": {"free": costs[0], "whole": costs[1]},
        "cleared": {str(share): row(share, options.fpr, clean, attacked, costs) for share in CLEARED},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cascade.json").write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


def guard(images: Any, fpr: float, interventions: list[dict[str, Any]]) -> DetectedModel:
    recipe = Recipe.parse("cascade", {**COMMON, "intervention": interventions})
    return DetectedModel(load_model("demo")).calibrate(images, recipe=recipe, fpr=fpr, budget=math.inf, jobs=1)


def twins(one: DetectedModel, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Attacks that succeed: of the calibration, a weaker one, and one that stops at the decision."""
    attacks = (*(Attack.of(**spec) for spec in COMMON["attack"]), Attack.of("pgd", eps="3/255", eps_step="1/255"))
    made = attack_all(one.classifier, x, (*attacks, Attack.of("deepfool")), seed=1, jobs=1)
    before = one(x).label
    return {
        name: attacked.x[one(attacked.x).label != before[attacked.index]] for name, attacked in made.items()
    }  # fmt: skip


def row(share: float, fpr: float, clean: Any, attacked: Any, costs: list[float]) -> dict[str, Any]:
    """What clearing this share of clean images does."""
    clearing = np.quantile(clean["choosing"][0], share) if share else -np.inf
    cascade = lambda pair: np.where(pair[0] <= clearing, PASSED, pair[1])  # noqa: E731
    threshold = conformal.threshold(cascade(clean["calibrating"]), fpr)
    judged = {name: cascade(pair) for name, pair in attacked.items() if len(pair[0])}
    on_clean = float((cascade(clean["testing"]) > PASSED).mean())
    on_attacked = float(np.mean([(found > PASSED).mean() for found in judged.values()]))
    return {
        "false_positive_rate": float((cascade(clean["testing"]) > threshold).mean()),
        "clean_that_go_on": on_clean,
        "attacked_that_go_on": {name: float((found > PASSED).mean()) for name, found in judged.items()},
        "detected": {name: float((found > threshold).mean()) for name, found in judged.items()},
        "cost_by_share_of_attacked": {
            str(part): round(costs[0] + (costs[1] - 1) * ((1 - part) * on_clean + part * on_attacked), 3)
            for part in ATTACKED
        },
    }


if __name__ == "__main__":
    main()
