"""Wall-clock cost relative to a bare forward pass, measured on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ce_detect
from ce_detect import atomic
from ce_detect.classifiers.base import Classifier

logger = logging.getLogger("ce_detect")


def ratios(
    bare: Callable[[], Any], functions: list[Callable[[], Any]], *, rounds: int = 15, warm_up: int = 2
) -> list[float]:
    """Time functions against ``bare``, taking turns so that drifts of the machine hit all alike.

    Args:
        bare: what costs 1.0.
        functions: what to compare with it.
        rounds: how often each runs.
        warm_up: runs before the clock starts.

    Returns:
        For each function the median over the rounds of its time divided by that of ``bare`` in the same round.
    """
    everything = [bare, *functions]
    for function in everything * warm_up:
        function()
    seconds = np.zeros((rounds, len(everything)))
    for turn in range(rounds):
        for position, function in enumerate(everything):
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[turn, position] = time.perf_counter() - start
    return [float(ratio) for ratio in np.median(seconds[:, 1:] / seconds[:, :1], axis=0)]


class CostTable:
    """Measured costs that are kept on disk, so that the same calibration makes the same choices again.

    One table holds the costs of one model in one environment: machine, number of threads, torch version, batch size.
    """

    def __init__(self, folder: Path, classifier: Classifier, *, batch: int) -> None:
        machine = [platform.node(), platform.processor(), torch.get_num_threads(), torch.__version__]
        cut = [type(classifier).__name__, classifier.input_shape, classifier.sites, str(classifier.device)]
        described = [ce_detect.__version__, classifier.fingerprint(), cut, batch, *machine]
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
