"""A few images of a calibration, clean and attacked, kept in the cache for an export in another process.

They are not in the artifact, which may leave the machine that holds the data; the cache holds attacked images anyway.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ce_detect.detector.gate import GateModule
from ce_detect.storage import atomic
from ce_detect.storage.folders import cache_folder

logger = logging.getLogger("ce_detect")

MOST_BYTES = 16_000_000
"""Size of a sample on disk, about, at most."""


def keep(gate: GateModule, sample: NDArray[np.float32], folder: Path) -> None:
    """Keep a sample ``(n, channels, height, width)`` of the images that a gate was calibrated on, if there is room."""
    path = _path(gate, folder)
    every = max(1, -(-sample.nbytes // MOST_BYTES))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, save({"x": np.ascontiguousarray(sample[::every])}))
    except OSError as error:  # a calibration is not lost for this
        logger.warning("no sample of the calibration was kept in %s (%s); name --data to export", path.parent, error)


def kept(gate: GateModule) -> NDArray[np.float32] | None:
    """The sample that was kept on this machine for a gate, or None."""
    path = _path(gate, cache_folder())
    if not path.is_file():
        return None
    try:
        found: NDArray[np.float32] = load(path.read_bytes())["x"]
    except Exception as error:  # noqa: BLE001  safetensors raises a bare Exception subclass
        logger.warning("the sample of the calibration in %s cannot be read (%s)", path, error)
        return None
    fits = found.ndim == 4 and found.shape[1:] == tuple(gate.signature.classifier.input_shape)
    return found if fits else None


def _path(gate: GateModule, folder: Path) -> Path:
    digest = hashlib.sha256(gate.signature.classifier.fingerprint().encode())
    for tensor in (gate.clean_scores, gate.threshold):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return folder / "samples" / f"{digest.hexdigest()}.safetensors"
