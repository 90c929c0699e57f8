"""A manifest of a detector that there is not, for tests of what holds and reads manifests."""

from __future__ import annotations

import copy
from typing import Any

from ce_detect.artifacts.manifest import Manifest

_PLAIN: dict[str, Any] = {
    "fpr": 0.01,
    "guarantee": "pac",
    "confidence": 0.95,
    "budget": None,
    "cascade": False,
    "seed": 0,
    "secret_seed": False,
    "recipe": {
        "name": "tiny",
        "head": "mlp",
        "prevalence": 0.1,
        "splits": {"fit": 0.4, "select": 0.2, "calibrate": 0.4, "test": 0.0},
        "attacks": [{"kind": "pgd", "name": "pgd 8/255", "eps": "8/255", "max_iter": 10}],
        "learned_from": ["pgd 8/255"],
        "corruptions": [{"kind": "jpeg", "severity": 1}],
        "corrupted": 0.5,
    },
    "model": {
        "fingerprint": "f" * 64,
        "probe_logits": [0.25, -1.5],
        "input_shape": [3, 4, 5],
        "bounds": [0.0, 1.0],
        "num_classes": 2,
        "multi_label": False,
        "label": None,
        "sites": ["stage1"],
    },
    "signature": {
        "interventions": [{"kind": "Flip", "site": "input", "scale": 0.75}],
        "names": ["Flip(scale=0.75)@input"],
        "sites": ["stage1"],
        "recovery": {"sites": ["stage1", "stage2"], "widths": [8, 16]},
        "features": 40,
        "chunk": None,
    },
    "heads": {"head": {"kind": "fused"}},
    "data": {"fingerprint": "d" * 64, "images": 10, "splits": {"fit": 4, "select": 2, "calibrate": 4, "test": 0}},
    "search": {"chosen": [{"name": "Flip(scale=0.75)@input", "cost": 0.5}], "considered": []},
    "versions": {"python": "3.11.0", "ce-detect": "0.1"},
    "figures": {"cost": 1.5, "served_cost": {"1": 1.6}, "test": None, "hardening": []},
}


def plain(**changes: Any) -> dict[str, Any]:
    """The manifest as plain data; a dict that is given changes the dict that is there."""
    made = copy.deepcopy(_PLAIN)
    for name, value in changes.items():
        made[name] = {**made[name], **value} if isinstance(value, dict) and name in made else value
    return made


def manifest(**changes: Any) -> Manifest:
    """The manifest, with changes as in `plain`."""
    return Manifest.of(plain(**changes))
