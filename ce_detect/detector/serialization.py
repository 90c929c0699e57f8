"""A gate as an artifact, and an artifact as a gate in front of its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ce_detect.artifacts.file import Artifact
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.interface import fingerprint
from ce_detect.core.errors import ArtifactError, CeDetectError, ModelMismatchError
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.signature import Signature
from ce_detect.heads.base import Head
from ce_detect.heads.cascade import CascadedHead
from ce_detect.heads.disagreement import DisagreementHead
from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.heads.network import NetworkHead
from ce_detect.interventions import from_spec

_CLASSIFIER = "signature.classifier."
_SEEN = "calibration_images"


def seen(artifact: Artifact) -> NDArray[np.uint64]:
    """Identities of the images that the gate was calibrated on; none in an artifact that does not keep them."""
    return np.asarray(artifact.tensors.get(_SEEN, np.zeros(0, np.uint64)))


def to_artifact(gate: GateModule, manifest: dict[str, Any], seen: NDArray[np.uint64] | None = None) -> Artifact:
    """Everything of a gate but its classifier, and the identities of the images that it was calibrated on."""
    own = {name: value for name, value in gate.state_dict().items() if not name.startswith(_CLASSIFIER)}
    tensors = {name: value.detach().cpu().contiguous().numpy() for name, value in own.items()}
    return Artifact(tensors if seen is None else {**tensors, _SEEN: np.sort(seen)}, manifest)


def to_gate(artifact: Artifact, classifier: Classifier) -> GateModule:
    """Make the gate again.

    Raises:
        ArtifactError: the manifest and the tensors do not belong together.
    """
    manifest = artifact.manifest
    tensors = {name: torch.from_numpy(value.copy()) for name, value in artifact.tensors.items() if name != _SEEN}
    try:
        signature = Signature(
            classifier,
            [from_spec(spec) for spec in manifest["signature"]["interventions"]],
            sites=tuple(manifest["signature"]["sites"]),
            layer_consistency=_recovery(manifest["signature"].get("recovery")),
            chunk=manifest["signature"]["chunk"],
        )
        gate = GateModule(
            signature,
            _head(tensors, "head."),
            clean_scores=tensors["clean_scores"],
            threshold=float(tensors["threshold"]),
            prevalence=manifest["recipe"]["prevalence"],
            clean_only=_clean_only(tensors, manifest["recipe"]["prevalence"]),
        )
        if isinstance(gate.head, CascadedHead) and gate.head.free != signature.free:
            raise ArtifactError(f"a first head for {gate.head.free} features, where {signature.free} are free")
        missing = gate.load_state_dict(tensors, strict=False)
    except (KeyError, RuntimeError, TypeError, CeDetectError) as error:
        raise ArtifactError(f"the artifact does not describe a gate for this model: {error}") from error
    lost = [name for name in missing.missing_keys if not name.startswith(_CLASSIFIER)] + missing.unexpected_keys
    if lost:
        raise ArtifactError(f"the artifact's tensors do not fit its manifest: {lost[0]}")
    return gate.eval().to(classifier.device)


def _recovery(spec: dict[str, Any] | None) -> LayerConsistency | None:
    return None if spec is None else LayerConsistency(tuple(spec["sites"]), tuple(spec["widths"]))


def check_weights(artifact: Artifact, model: nn.Module) -> None:
    """Refuse a model with other weights than those the detector was calibrated for.

    Raises:
        ModelMismatchError: the weights differ.
    """
    expected, found = artifact.manifest["model"]["fingerprint"], fingerprint(model)
    if found != expected:
        raise ModelMismatchError(
            f"this detector was calibrated for a model with fingerprint {expected[:12]}, but the model given has "
            f"{found[:12]}. Calibrate again for the new weights; to go on without any guarantee, pass "
            "allow_other_model=True"
        )


def probe_logits(classifier: Classifier) -> list[float]:
    """Logits of the classifier's fixed input, which the manifest keeps."""
    with torch.inference_mode():
        logits: list[float] = classifier.logits(classifier.probe())[0].cpu().tolist()
    return logits


def check_logits(artifact: Artifact, classifier: Classifier) -> None:
    """Refuse a model that computes something else from the same weights.

    Raises:
        ModelMismatchError: the logits of a fixed input differ.
    """
    logits, before = probe_logits(classifier), artifact.manifest["model"]["probe_logits"]
    relative = max(1e-2, classifier.tolerance)
    slack = relative * float(np.abs(before).max())
    if len(logits) != len(before) or not np.allclose(logits, before, rtol=relative, atol=slack):
        raise ModelMismatchError(
            "the model has the weights this detector was calibrated for, but computes something else "
            "from a fixed input: "
            "compare preprocessing (mean, standard deviation, pixel range) and the model's code with "
            "those at calibration"
        )


def _clean_only(tensors: dict[str, torch.Tensor], prevalence: float) -> Detector | None:
    if "clean_only.threshold" not in tensors:
        return None
    return Detector(
        _head(tensors, "clean_only.head."),
        clean_scores=tensors["clean_only.clean_scores"],
        threshold=float(tensors["clean_only.threshold"]),
        prevalence=prevalence,
    )


def _head(tensors: dict[str, torch.Tensor], prefix: str) -> Head:
    part = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if "inner.center" in part:
        numbers = {name: float(part[name]) for name in ("middle", "width", "meeting")}
        return DisagreementHead(_head(part, "inner."), effect=int(part["effect"]), odds=int(part["odds"]), **numbers)
    if "level" in part:
        return CascadedHead(_head(part, "first."), _head(part, "second."), level=float(part["level"]))
    if "network.center" in part:
        network, clean = (_head(part, name) for name in ("network.", "clean."))
        assert isinstance(network, NetworkHead)
        assert isinstance(clean, DistanceHead)
        numbers = {name: float(part[name]) for name in ("location", "spread", "middle", "width")}
        return FusedHead(network, clean, **numbers)
    if "directions" in part:
        return DistanceHead(part["center"], part["scale"], part["mean"], part["precision"], part["directions"])
    depth = sum(name.startswith("weight") for name in part) - 1
    layers = [(part[f"weight{i}"], part[f"bias{i}"]) for i in range(depth)]
    return NetworkHead(part["center"], part["scale"], part["weight"], part["bias"], layers)
