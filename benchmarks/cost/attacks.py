"""Carlini-Wagner by ART and by us on the same images: how often it fools, from how near, and in what time.

    CE_DETECT_DATA=... python -m benchmarks.cost.attacks

Both attack ResNet-20 with the settings of the default recipe, one after the other, in one thread of this process; the
ratio is that of their processor times, which other programs on the machine disturb less than the clock. Writes
``results/attacks.json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks import evasion
from numpy.typing import NDArray

from benchmarks.face import CHUNK, Estimator, run_attack
from benchmarks.machine import environment
from benchmarks.program import parser, quiet, write
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Recipe

RESULT = Path(__file__).parent / "results" / "attacks.json"
SUBJECT = SUBJECTS["cifar10-resnet20"]

Images = NDArray[np.float32]


def main() -> None:
    parser(__doc__).parse_args()
    quiet()
    torch.set_num_threads(1)
    x = SUBJECT.split()[0].x[:CHUNK]
    classifier = SUBJECT.guard(x.shape[1:]).classifier
    estimator = Estimator(classifier)
    attack = next(attack for attack in Recipe.load("default").attacks if attack.kind == "cw-l2")
    theirs = evasion.CarliniL2Method(estimator, batch_size=CHUNK, verbose=False, **dict(attack.settings))
    art = measured(estimator, x, lambda: theirs.generate(x=x))
    ours = measured(estimator, x, lambda: run_attack(attack, classifier, x, batch_size=CHUNK))
    outcome = {
        "environment": environment(),
        "what": f"{SUBJECT.title}, {len(x)} images, {attack.name} {dict(attack.settings)}",
        "art": art,
        "ours": ours,
        "ratio": round(art["cpu_seconds"] / ours["cpu_seconds"], 1),
    }
    write(RESULT, outcome)
    print(
        f"{outcome['what']}: ART fools {art['success']:.0%} from a median distance of {art['median_l2']:.3f} in "
        f"{art['cpu_seconds']:.0f} s, ours {ours['success']:.0%} from {ours['median_l2']:.3f} in "
        f"{ours['cpu_seconds']:.0f} s, {outcome['ratio']:.1f} times as fast"
    )


def measured(estimator: Estimator, x: Images, attack: Callable[[], Images]) -> dict[str, Any]:
    """What an attack did to images, and in what time."""
    begun, processor = time.perf_counter(), time.process_time()
    attacked = attack()
    seconds, used = time.perf_counter() - begun, time.process_time() - processor
    fooled = estimator.labels(attacked) != estimator.labels(x)
    distances = np.linalg.norm((attacked - x).reshape(len(x), -1), axis=1)[fooled]
    return {
        "success": round(float(fooled.mean()), 4),
        "median_l2": round(float(np.median(distances)), 4),
        "mean_l2": round(float(distances.mean()), 4),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used, 2),
    }


if __name__ == "__main__":
    main()
