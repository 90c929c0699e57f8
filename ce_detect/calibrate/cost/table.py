"""Measured costs that are kept on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from ce_detect.classifiers.base import Classifier
from ce_detect.core.version import VERSION
from ce_detect.storage import atomic

logger = logging.getLogger("ce_detect")


_FORMAT = 8


class CostTable:
    """Measured costs that are kept on disk, so that the same calibration makes the same choices again.

    One table holds the costs of one model in one environment: machine, number of threads, torch version, batch sizes.
    """

    def __init__(self, folder: Path, classifier: Classifier, *, batches: tuple[int, ...]) -> None:
        machine = [platform.node(), platform.processor(), torch.get_num_threads(), torch.__version__]
        cut = [type(classifier).__name__, classifier.input_shape, classifier.sites, str(classifier.device)]
        described = [_FORMAT, VERSION, classifier.fingerprint(), cut, batches, *machine]
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
