"""A detector of the demo model that is calibrated in seconds, once a session, for tests of what is built on one."""

from __future__ import annotations

import atexit
import functools
import math
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import attack_all
from ce_detect.calibrate.recipe import Recipe
from ce_detect.core.resizing import Resizing
from ce_detect.data import Images, load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel

PGD: dict[str, Any] = {"kind": "pgd", "eps": "6/255", "eps_step": "2/255", "max_iter": 5}

_COMMON: dict[str, Any] = {
    "splits": {"fit": 0.5, "select": 0.2, "calibrate": 0.3, "test": 0.0},
    "intervention": [{"kind": "Flip"}],
}

QUICK = Recipe.parse("quick", {**_COMMON, "head": "logistic", "attack": [PGD]})
"""One attack, one intervention."""

CLEAN = Recipe.parse("clean", {**_COMMON, "head": "distance"})
"""No attack, one intervention."""

SETTINGS: dict[str, Any] = {"fpr": 0.1, "budget": math.inf}


def images() -> Images:
    """The 300 images that `guard` was calibrated on."""
    return load_data("demo", limit=300)


@functools.cache
def cache() -> Path:
    """Attacked images and measured costs, for all tests of a session."""
    folder = mkdtemp(prefix="ce-detect-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def guard() -> DetectedModel:
    """A calibrated detector; leave it as it is."""
    first = images()
    return DetectedModel(fashion_cnn()).calibrate(first.x, first.y, recipe=QUICK, jobs=1, cache=cache(), **SETTINGS)


@functools.cache
def for_photographs() -> DetectedModel:
    """A detector like that of `guard` for files of any size."""
    first, resizing = images(), Resizing(32, 28)
    made = DetectedModel(fashion_cnn(), resizing=resizing)
    return made.calibrate(first.x, first.y, recipe=QUICK, jobs=1, cache=cache(), **SETTINGS)


@functools.cache
def fresh() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images that calibration did not see, and those of them under attack that fool the classifier."""
    clean = load_data("demo").x[300:500]
    (twins,) = attack_all(guard().classifier, clean, (Attack.of(**PGD),), seed=1, cache=cache(), jobs=1).values()
    attacked = np.asarray(twins.x)
    return clean, attacked[guard()(attacked).label != guard()(clean).label]
