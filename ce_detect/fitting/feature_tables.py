"""Signatures of all candidates, kept on disk: a calibration with another budget finds them there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.core.version import VERSION
from ce_detect.data.splits import identities
from ce_detect.features.signature import Signature
from ce_detect.fitting import heads
from ce_detect.storage.cache import Arrays, Cache, digest

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

    def computed() -> Arrays:
        made = heads.table(signature, sets)
        return {_CLEAN: made.clean, **made.attacked}

    known = Cache(folder, "tables", content="signatures")
    shapes = dict.fromkeys((_CLEAN, *sets.attacked), (None, len(signature.names)))
    found = known.get(_key(signature, sets), shapes, computed)
    twins = {name: some.index for name, some in sets.attacked.items()}
    return heads.Table(found[_CLEAN], {name: found[name] for name in sets.attacked}, len(sets.clean), twins)


def _key(signature: Signature, sets: heads.Sets) -> str:
    classifier = signature.classifier
    logits: Any = classifier.logits(classifier.probe()).detach().cpu().numpy()
    images = {name: sets.attacked[name].pixels for name in sets.attacked} | {_CLEAN: sets.clean}
    state = signature.state_dict().items()
    return digest(
        format=_FORMAT,
        version=VERSION,
        classifier=[classifier.fingerprint(), np.round(logits, 2).tolist(), classifier.bounds, classifier.sites],
        signature=signature.names,
        learned={name: value.detach().cpu().numpy() for name, value in state if not name.startswith("classifier.")},
        images={name: [x.shape, identities(x)] for name, x in images.items()},
        corrupted=None if sets.corrupted is None else [sets.corrupted.shape, identities(sets.corrupted)],
    )
