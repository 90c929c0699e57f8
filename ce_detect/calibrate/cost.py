"""Wall-clock cost relative to a bare forward pass, measured on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import ce_detect
from ce_detect import atomic
from ce_detect.classifiers.base import Classifier

logger = logging.getLogger("ce_detect")

T = TypeVar("T")

LEAST_ROUNDS = 3
"""Rounds that are always timed, however slow the functions are."""

_FORMAT = 8


def ratios(
    bare: Callable[[], Any],
    functions: Sequence[Callable[[], Any]],
    *,
    rounds: int = 15,
    warm_up: int = 2,
    seconds: float | None = None,
) -> list[float]:
    """Time functions against ``bare``, taking turns so that drifts of the machine hit all alike.

    Args:
        bare: what costs 1.0.
        functions: what to compare with it.
        rounds: how often each runs.
        warm_up: runs before the clock starts.
        seconds: time after which no new round begins, once there were `LEAST_ROUNDS`.

    Returns:
        For each function the median over the rounds of its time divided by that of ``bare`` in the same round.
    """
    everything = [bare, *functions]
    for function in everything * warm_up:
        function()
    taken: list[list[float]] = []
    begun = time.perf_counter()
    while len(taken) < rounds and not (
        seconds is not None and len(taken) >= LEAST_ROUNDS and time.perf_counter() - begun > seconds
    ):
        taken.append([_seconds(function) for function in everything])
    times = np.array(taken)
    return [float(ratio) for ratio in np.median(times[:, 1:] / times[:, :1], axis=0)]


def on_each(function: Callable[[T], Any], parts: Sequence[T]) -> Callable[[], None]:
    """Return what calls a function with one part after the other."""

    def run() -> None:
        for part in parts:
            function(part)

    return run


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


class CostTable:
    """Measured costs that are kept on disk, so that the same calibration makes the same choices again.

    One table holds the costs of one model in one environment: machine, number of threads, torch version, batch sizes.
    """

    def __init__(self, folder: Path, classifier: Classifier, *, batches: tuple[int, ...]) -> None:
        machine = [platform.node(), platform.processor(), torch.get_num_threads(), torch.__version__]
        cut = [type(classifier).__name__, classifier.input_shape, classifier.sites, str(classifier.device)]
        described = [_FORMAT, ce_detect.__version__, classifier.fingerprint(), cut, batches, *machine]
        key = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]
        self._path = folder / "costs" / f"{key}.json"
        self._known = _read(self._path) if self._path.is_file() else {}

    def get(self, names: list[str], measure: Callable[[list[str]], list[float]]) -> dict[str, float]:
        """Return a cost for each name, measuring those that are not known yet.

        Args:
            names: what to look up.
            measure: takes the names that are not known and returns their costs.
        """
        missing = [name for name in names if name not in self._known]
        if missing:
            self._known.update(zip(missing, measure(missing), strict=True))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(self._path, json.dumps(self._known, sort_keys=True, indent=1).encode())
        return {name: self._known[name] for name in names}


def _read(path: Path) -> dict[str, float]:
    try:
        return {str(name): float(cost) for name, cost in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        logger.warning("measured costs in %s cannot be read (%s); measuring again", path, error)
        return {}
