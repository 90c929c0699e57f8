"""A manifest of a detector that there is not, for tests of what holds and reads manifests."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def tensors(said: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Tensors that fit a manifest of ours, but for interventions, of which only names and numbers are looked at."""
    features, generator = said["signature"]["features"], np.random.default_rng(0)
    found: dict[str, NDArray[Any]] = {"signature.interventions.0.x": np.arange(6).reshape(2, 3).T}

    def put(name: str, *shape: int) -> None:
        found[name] = generator.uniform(0.5, 1, size=shape).astype(np.float32)

    for part, sides in {"center": (24,), "scale": (24,), "weight": (16, 8), "error": (8,)}.items():
        put(f"signature.layer_consistency.{part}", *sides)
    for prefix, head in (("", said["heads"]["head"]), ("clean_only.", said["heads"].get("clean_only"))):
        if head is not None:
            found[f"{prefix}clean_scores"] = np.arange(7, dtype=np.float32)
            found[f"{prefix}threshold"] = np.array(6.5, np.float32)
            found[f"{prefix}prior"] = np.array(np.log(1 / 9), np.float32)
            for name, shape in _head(head["kind"], features):
                put(f"{prefix}head.{name}", *shape)
    return found


def _head(kind: str, features: int) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a head's tensors."""
    common = [("center", (features,)), ("scale", (features,)), ("slope", ()), ("offset", ())]
    if kind == "network":
        layers = [("weight0", (2, features, 3)), ("bias0", (2, 1, 3)), ("weight1", (2, 3, 2)), ("bias1", (2, 1, 2))]
        return [*common, ("weight", (features, 2)), ("bias", (2,)), *layers]
    if kind == "mahalanobis":
        return [*common, ("mean", (features,)), ("precision", (features,)), ("directions", (features, 0))]
    parts = [(f"{part}.{name}", shape) for part, inner in (("network", "network"), ("clean", "mahalanobis"))
             for name, shape in _head(inner, features)]  # fmt: skip
    return [*common, *parts, *((name, ()) for name in ("location", "spread", "middle", "width"))]
