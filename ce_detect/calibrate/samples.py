"""A few images of a calibration, clean and attacked, kept in the cache for an export in another process.

They are not in the artifact, which may leave the machine that holds the data; the cache holds attacked images anyway.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ce_detect.detector.gate import GateModule
from ce_detect.storage.cache import Cache, digest
from ce_detect.storage.folders import cache_folder

logger = logging.getLogger("ce_detect")

MOST_BYTES = 16_000_000
"""Size of a sample on disk, about, at most."""


def keep(gate: GateModule, sample: NDArray[np.float32], folder: Path) -> None:
    """Keep a sample ``(n, channels, height, width)`` of the images that a gate was calibrated on, if there is room."""
    cache = _cache(folder)
    every = max(1, -(-sample.nbytes // MOST_BYTES))
    try:
        cache.write(_key(gate), {"x": sample[::every]})
    except OSError as error:  # a calibration is not lost for this
        logger.warning("no sample of the calibration was kept in %s (%s); name --data to export", cache.folder, error)


def kept(gate: GateModule) -> NDArray[np.float32] | None:
    """The sample that was kept on this machine for a gate, or None."""
    found = _cache(cache_folder()).read(_key(gate), {"x": (None, *gate.signature.classifier.input_shape)})
    return None if found is None else found["x"]


def _cache(folder: Path) -> Cache:
    return Cache(folder, "samples", content="images of a calibration")


def _key(gate: GateModule) -> str:
    return digest(
        classifier=gate.signature.classifier.fingerprint(),
        clean_scores=gate.clean_scores.detach().cpu().numpy(),
        threshold=gate.threshold.detach().cpu().numpy(),
    )
