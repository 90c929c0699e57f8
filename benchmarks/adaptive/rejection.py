"""Radii on many images, and the loss of Chen et al. (ICML 2023, arXiv 2305.01139), which charges for rejecting.

    CE_DETECT_DATA=... python -m benchmarks.adaptive.rejection --images 100 --steps 40
    CE_DETECT_DATA=... python -m benchmarks.adaptive.rejection --only "budget 3, hardened" --seed 1

Of each image three radii: of the smallest change that fools the classifier alone, of the smallest that also passes the
detector, and of the smallest that is flagged. *Total robust loss* within a bound: an image costs 1 where a change
within the bound fools and passes. Else it costs what its smallest flagged change costs. That is 1 up to a share of the
bound (``step``), or falls from 1 at no change to 0 at the bound (``ramp``, squared; in the results alone). The smallest
flagged change is of one attack, where the others are of four. So it may be smaller, and losses that count it are lower
bounds. Decisions on clean images count as right. A gate that is calibrated here says how long the stages of its
calibration took. Writes ``results/rejection-<subject>.json``; detectors that are there already, made with the same
settings, are not done again.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.adaptive.attackable import PEERS
from benchmarks.adaptive.bench import Bench
from benchmarks.adaptive.under_attack import DISAGREEMENT, GATES, target
from benchmarks.face import WHITE_BOX, Case, Joint, Target, radii, redrawn
from benchmarks.program import parser, quiet, resumed
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS

RESULTS = Path(__file__).parent / "results"
WITHIN = (1, 2, 4, 8)
"""Bounds of the loss, of 255."""

STEPS = (0.0, 0.25, 0.5, 1.0)
"""Shares of the bound up to which rejecting costs 1."""

DEFAULT = ("budget 2", "budget 3, hardened", DISAGREEMENT, "max-softmax")


class Flagging:
    """A detector alone as what is fooled: class 0 passes, class 1 is flagged, and nothing watches that."""

    threshold = 0.0

    def __init__(self, detector: Target) -> None:
        self.detector, self.bounds = detector, detector.bounds

    def joint(self, x: Tensor) -> Joint:
        """See `benchmarks.face.Target`."""
        over = self.detector.joint(x).score - self.detector.threshold
        return Joint(torch.stack([-over, over], 1), torch.zeros_like(over))


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--subject", choices=tuple(SUBJECTS), default="cifar10-resnet20")
    program.add_argument("--only", nargs="+", choices=(*GATES, DISAGREEMENT, *PEERS), default=DEFAULT)
    program.add_argument("--images", type=int, default=100)
    program.add_argument("--steps", type=int, default=40)
    program.add_argument("--seed", type=int, default=SEED, help="of the calibration")
    options = program.parse_args()
    quiet()
    bench = Bench(SUBJECTS[options.subject], options.images, options.steps, seed=options.seed)
    settings = {"images": options.images, "steps": options.steps, "fpr": FPR}
    path = RESULTS / f"rejection-{options.subject}.json"
    more = "" if options.seed == SEED else f", seed {options.seed}"
    makers = {f"{name}{more}": partial(measured, bench, name) for name in options.only}
    for name, row in resumed(path, "detectors", settings, makers):
        print(name, row["ratio"], row["loss"], flush=True)


def measured(bench: Bench, name: str) -> dict[str, Any]:
    """Figures of one detector."""
    bench.stages.clear()
    detector, start = target(bench, name), time.perf_counter()
    report = bench.attacked(detector)
    joint = np.array([np.inf if one is None else one for one in report.radii_joint])
    flagged = smallest_flagged(bench, detector)
    ratio = report.ratio
    return {
        "images": report.images,
        "flagged_clean": report.flagged_clean,
        "ratio": {"value": ratio.value, "low": ratio.low, "high": ratio.high, "is_bound": report.ratio_is_bound},
        "loss": {str(eps): losses(joint, flagged, eps / 255) for eps in WITHIN},
        "loss_alone": {str(eps): _interval(bench.radii <= eps / 255) for eps in WITHIN},
        "radii": {name: [_plain(one) for one in some] for name, some in (("joint", joint), ("flagged", flagged))},
        "calibration_seconds": {stage: round(seconds, 1) for stage, seconds in bench.stages.items()},
        "seconds": round(time.perf_counter() - start, 1),
    }


def smallest_flagged(bench: Bench, detector: Target) -> np.ndarray:
    """Smallest perturbations that are flagged, in parts of the pixel range; 0 where the clean image is."""
    flagging, x = Flagging(detector), torch.from_numpy(bench.x)
    case = Case.of(flagging, x)
    passes = torch.zeros_like(case.labels)
    found, _ = radii(
        flagging, Case(x, passes, case.anchors), bench.plan.levels, steps=bench.plan.steps, seed=bench.plan.seed,
        attacks=WHITE_BOX[:1],
    )  # fmt: skip
    return np.where(case.labels.numpy() == 1, 0.0, found)


def losses(joint: np.ndarray, flagged: np.ndarray, eps: float) -> dict[str, Any]:
    """Total robust losses within a bound, by what rejecting costs, each with its interval of 95 %."""
    through, part = joint <= eps * (1 + 1e-9), flagged / eps
    costs = {f"step {share:g}": part <= share * (1 + 1e-9) for share in STEPS}
    costs["ramp 2"] = np.clip(1 - part, 0, None) ** 2
    return {name: _interval(np.where(through, 1.0, cost)) for name, cost in costs.items()}


def _interval(values: np.ndarray) -> dict[str, float]:
    (found,) = redrawn(lambda some: (float(np.mean(some)),), values.astype(float), seed=SEED)
    return {"value": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def _plain(radius: float) -> float | None:
    return float(radius) if np.isfinite(radius) else None


if __name__ == "__main__":
    main()
