"""Measured costs that are kept on disk."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ce_detect.classifiers.base import Classifier
from ce_detect.core.version import VERSION
from ce_detect.storage.cache import Cache, digest

_FORMAT = 11

_SHAPES: dict[str, tuple[int | None, ...]] = {"cost": ()}


class CostTable:
    """Measured costs that are kept on disk, so that the same calibration makes the same choices again.

    One table holds the costs of one model in one environment: machine, number of threads, torch version, batch sizes.
    Each cost is a file of its own, so that two calibrations at a time do not write over each other.
    """

    def __init__(self, folder: Path, classifier: Classifier, *, batches: tuple[int, ...]) -> None:
        cut = [type(classifier).__name__, classifier.input_shape, classifier.sites, str(classifier.device)]
        machine = [platform.node(), platform.processor(), torch.get_num_threads(), torch.__version__]
        self._measured_on = [_FORMAT, VERSION, classifier.fingerprint(), cut, batches, machine]
        self._cache = Cache(folder, "costs", content="measured costs")
        self._known: dict[str, float] = {}

    def get(self, names: list[str], measure: Callable[[list[str]], list[float]]) -> dict[str, float]:
        """Return a cost for each name, measuring those that are not known yet.

        Args:
            names: what to look up.
            measure: takes the names that are not known and returns their costs.

        Raises:
            CalibrationError: a cost cannot be kept.
        """
        for name in names:
            if name not in self._known and (found := self._cache.read(self._key(name), _SHAPES)) is not None:
                self._known[name] = float(found["cost"])
        missing = [name for name in names if name not in self._known]
        if missing:
            measured = dict(zip(missing, measure(missing), strict=True))
            with self._cache.keeping():
                for name, cost in measured.items():
                    self._cache.write(self._key(name), {"cost": np.array(cost, np.float64)})
            self._known |= measured
        return {name: self._known[name] for name in names}

    def _key(self, name: str) -> str:
        return digest(environment=self._measured_on, name=name)
