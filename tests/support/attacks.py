"""Attacks with quick settings and from fixed random starts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.attacks.run import run
from ce_detect.core.types import Floats
from support.models import Subject, subject

PGD = Attack.of("pgd", max_iter=2)
SQUARE = Attack.of("square", max_iter=3)

FAST: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "bim": {"max_iter": 5, "eps_step": "2/255"},
    "mim": {"max_iter": 5, "eps_step": "2/255"},
    "pgd": {"max_iter": 4},
    "pgd-l2": {"max_iter": 4, "eps": 1.0, "eps_step": 0.5},
    "apgd-ce": {"max_iter": 4},
    "apgd-dlr": {"max_iter": 4},
    "autoattack": {"max_iter": 4, "square_iter": 5},
    "cw-l2": {"max_iter": 3, "binary_search_steps": 2, "initial_const": 1.0},
    "elastic-net": {"max_iter": 10, "binary_search_steps": 1, "initial_const": 10.0, "learning_rate": 0.05},
    "deepfool": {"max_iter": 5},
    "jsma": {"theta": 1.0, "gamma": 0.1},
    "patch": {"max_iter": 5, "scale_min": 0.7, "scale_max": 0.8},
    "square": {"max_iter": 5, "eps": "32/255"},
    "hopskipjump": {"max_iter": 1, "max_eval": 20, "init_eval": 5, "init_size": 20},
    "boundary": {"max_iter": 3, "num_trial": 5, "sample_size": 5, "init_size": 20},
    "geoda": {"max_iter": 251, "sub_dim": 4, "init_size": 20},
    "spatial": {"num_translations": 3, "num_rotations": 3},
}
"""Settings that make each attack quick, and strong enough for one success on a few images."""


def attacked(classifier: Any, kind: str, x: Floats, **changes: Any) -> Floats:
    """Attack images from fixed random starts."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), np.errstate(all="ignore"):  # ART draws from the global generators
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        result = run(Attack.of(kind, **{**FAST[kind], **changes}), classifier, x, batch_size=4)
    random.setstate(before[0])
    np.random.set_state(before[1])
    return result


def labels(classifier: Any, x: Floats) -> NDArray[np.int64]:
    """The classifier's decisions."""
    with torch.no_grad():
        return np.asarray(classifier.logits(torch.from_numpy(x)).argmax(1))


def attack_plain(
    x: Floats, cache: Path, *attacks: Attack, part: Subject | None = None, **settings: Any
) -> dict[str, AttackedSet]:
    """Attack images of the plain classifier in this process."""
    classifier = (part or subject("plain")).classifier
    return attack_all(classifier, x, attacks or (PGD,), cache=cache, **{"seed": 0, "jobs": 1, **settings})


def chunks_in(cache: Path) -> dict[str, bytes]:
    """Files of finished chunks by name."""
    return {path.name: path.read_bytes() for path in sorted((cache / "attacks").iterdir())}
