"""Artifacts whose content was changed and whose seal was made anew, as anybody can: it is a checksum without a key."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from ce_detect.artifacts import file, sealed
from ce_detect.artifacts.manifest import Manifest
from ce_detect.detector import serialization
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.heads.base import Head
from ce_detect.heads.cascade import CascadedHead
from ce_detect.heads.disagreement import DisagreementHead
from support import random_heads
from support.gates import gate
from support.manifests import plain
from support.models import TINY, tiny_classifier

Plain = dict[str, Any]
Tensors = dict[str, NDArray[Any]]

VALUES: tuple[Any, ...] = (
    None, True, False, "", "x" * 70_000, "\u0000", -1, 0, 1, 7, 10**9, 2**63, 10**400, -0.5, 1e-300, 1.5, 1e300,
    float("nan"), float("inf"), [], [1], [[1.0, 2.0]], {}, {"kind": "network"}, {"kind": []}, [{}] * 6000,
)  # fmt: skip
"""What may stand where a manifest has something else; JSON as Python reads it has the last three numbers, too."""


def write(path: Path, manifest: Plain, tensors: Tensors) -> Path:
    """Write a whole artifact of any content, with the seal of that content."""
    said = {**manifest, "format": file.FORMAT, "sha256": sealed.digest(dict(sorted(tensors.items())))}
    text = json.dumps({**said, "seal": sealed.seal(said)}, sort_keys=True)
    path.write_bytes(
        save({name: np.asarray(x, order="C") for name, x in tensors.items()}, metadata={"ce_detect": text})
    )
    return path


def whole(kind: str = "fused") -> tuple[Plain, Tensors]:
    """Manifest and tensors of a gate in front of the tiny model "plain", with a detector beside it.

    Args:
        kind: of its head: ``"fused"``, ``"disagreement"`` or ``"cascade"``.
    """
    found = gate("plain", "mlp")
    features = len(found.signature.names)
    fused = random_heads.fused(features)
    head: Head = fused
    if kind == "disagreement":
        head = DisagreementHead(fused, effect=3, odds=1, middle=0.5, width=2.0, meeting=1.5)
    elif kind == "cascade":
        head = CascadedHead(random_heads.fused(found.signature.free), fused, level=-0.25)
    clean = {"clean_scores": torch.arange(4.0), "threshold": 3.5, "prevalence": 0.1}
    made = GateModule(found.signature, head, **clean, clean_only=Detector(fused.clean, **clean)).eval()
    said = Manifest.of(_manifest(made))
    artifact = serialization.to_artifact(made, said, np.array([7, 3], np.uint64))
    return artifact.manifest.plain(), dict(artifact.tensors)


def _manifest(made: GateModule) -> Plain:
    """What a calibration would say of a gate."""
    signature, classifier = made.signature, tiny_classifier("plain")
    assert signature.layer_consistency is not None
    assert signature.shapley is not None
    return plain(
        cascade=isinstance(made.head, CascadedHead),
        heads=msgspec.to_builtins(serialization.kinds_of(made)),
        signature={
            "interventions": [module.spec() for module in signature.interventions],  # type: ignore[operator]
            "names": [module.name for module in signature.interventions],
            "sites": list(signature.statistics.sites),
            "recovery": signature.layer_consistency.spec(),
            "shapley": signature.shapley.spec(),
            "features": len(signature.names),
            "chunk": signature.chunk,
        },
        model={
            "fingerprint": classifier.fingerprint(),
            "probe_logits": serialization.probe_logits(classifier),
            "input_shape": list(TINY["plain"].shape),
            "bounds": list(TINY["plain"].bounds),
            "num_classes": classifier.num_classes,
            "sites": list(classifier.sites),
        },
    )


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of everything in plain data."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))


def changed(manifest: Plain, path: tuple[Any, ...], value: Any) -> Plain:
    """The manifest with another value at a place."""
    made = copy.deepcopy(manifest)
    inner: Any = made
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return made


def spoilt(x: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    """Another tensor in the place of one: other numbers, another type or another shape."""
    way = int(generator.integers(12))
    if way < 6:
        value = (np.nan, np.inf, -np.inf, 1e38, 0.0, -1e-9)[way]
        made = x.astype(np.float32, copy=True)
        made.reshape(-1)[generator.integers(max(x.size, 1)) :] = value
        return made
    others = (
        x[None], x.reshape(-1)[:0], x.astype(np.float64), x.astype(np.float16), x.astype(np.int64, casting="unsafe"),
        np.zeros((*x.shape, 2), x.dtype),
    )  # fmt: skip
    with np.errstate(all="ignore"):
        return np.asarray(others[way - 6])
