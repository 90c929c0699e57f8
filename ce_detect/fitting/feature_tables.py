"""Signatures of all candidates, kept on disk: a calibration with another budget finds them there."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ce_detect.core.version import VERSION
from ce_detect.data.splits import identities
from ce_detect.features.signature import Signature
from ce_detect.fitting import heads
from ce_detect.storage import atomic

logger = logging.getLogger("ce_detect")

_FORMAT = 3
_CLEAN = "clean"


def table(signature: Signature, sets: heads.Sets, folder: Path) -> heads.Table:
    """Signatures of everything in a split, from the cache where they are known.

    Known are those of one classifier, one signature with all its learned parameters, and one set of images.

    Args:
        signature: what makes the features.
        sets: the split.
        folder: the cache.
    """
    path = folder / "tables" / f"{_key(signature, sets)}.safetensors"
    found = _read(path, len(signature.names)) if path.is_file() else None
    if found is not None and set(found) == {_CLEAN, *sets.attacked}:
        return heads.Table(found.pop(_CLEAN), {name: found[name] for name in sets.attacked})
    made = heads.table(signature, sets)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, save({_CLEAN: made.clean, **made.attacked}))
    return made


def _key(signature: Signature, sets: heads.Sets) -> str:
    classifier = signature.classifier
    logits: Any = classifier.logits(classifier.probe()).detach().cpu().numpy()
    described = [
        _FORMAT, VERSION, classifier.fingerprint(), np.round(logits, 2).tolist(), classifier.bounds,
        classifier.sites, signature.names, sorted(sets.attacked),
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, tensor in sorted(signature.state_dict().items()):
        if not name.startswith("classifier."):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    images = [sets.clean, *(sets.attacked[name].pixels for name in sorted(sets.attacked))]
    for x in images if sets.corrupted is None else [*images, sets.corrupted]:
        digest.update(str(x.shape).encode() + identities(x).tobytes())
    return digest.hexdigest()


def _read(path: Path, width: int) -> dict[str, NDArray[np.float32]] | None:
    try:
        found: dict[str, Any] = load(path.read_bytes())
    except Exception as error:  # noqa: BLE001  safetensors raises a bare Exception subclass
        logger.warning("signatures in %s cannot be read (%s); computing them again", path, error)
        return None
    fits = all(rows.ndim == 2 and rows.shape[1] == width for rows in found.values())
    return found if fits else None
