"""A gate as an artifact, and an artifact as a gate in front of its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from torch import nn

from ce_detect.artifacts.features import LayerConsistencyPart
from ce_detect.artifacts.file import Artifact
from ce_detect.artifacts.heads import HeadPart, HeadsPart
from ce_detect.artifacts.manifest import Manifest
from ce_detect.artifacts.tensors import SEEN
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.interface import fingerprint
from ce_detect.core.errors import ArtifactError, CeDetectError, ModelMismatchError
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.detector.head_serialization import head, kind
from ce_detect.features.fakeness import Fakeness
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.shapley import ShapleyValues
from ce_detect.features.signature import Signature
from ce_detect.heads.cascade import CascadedHead
from ce_detect.interventions import from_spec

MOST_DRAWS = 4096
"""Variants of an input that all interventions make together, at most: a search finds some hundred."""

_CLASSIFIER = "signature.classifier."


def seen(artifact: Artifact) -> NDArray[np.uint64]:
    """Identities of the images that the gate was calibrated on; none in an artifact that does not keep them."""
    return np.asarray(artifact.tensors.get(SEEN, np.zeros(0, np.uint64)))


def kinds_of(gate: GateModule) -> HeadsPart:
    """What the manifest says about the heads of a gate."""
    return HeadsPart(head=kind(gate.head), clean_only=None if gate.clean_only is None else kind(gate.clean_only.head))


def to_artifact(gate: GateModule, manifest: Manifest, seen: NDArray[np.uint64] | None = None) -> Artifact:
    """Everything of a gate but its classifier, and the identities of the images that it was calibrated on."""
    own = {name: value for name, value in gate.state_dict().items() if not name.startswith(_CLASSIFIER)}
    tensors = {name: value.detach().cpu().contiguous().numpy() for name, value in own.items()}
    return Artifact(tensors if seen is None else {**tensors, SEEN: np.sort(seen)}, manifest)


def to_gate(artifact: Artifact, classifier: Classifier) -> GateModule:
    """Make the gate again.

    Raises:
        ArtifactError: the manifest and the tensors do not belong together, or make a gate that does not judge.
    """
    tensors = {name: torch.from_numpy(value.copy()) for name, value in artifact.tensors.items() if name != SEEN}
    try:
        gate = _gate(artifact.manifest, tensors, classifier)
        missing = gate.load_state_dict(tensors, strict=False)
        gate.eval().to(classifier.device)
        score = _probed(gate)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, CeDetectError) as error:
        raise ArtifactError(f"the artifact does not describe a gate for this model: {error}") from error
    lost = [name for name in missing.missing_keys if not name.startswith(_CLASSIFIER)] + missing.unexpected_keys
    if lost:
        raise ArtifactError(f"the artifact's tensors do not fit its manifest: {lost[0]}")
    if not np.isfinite(score):
        raise ArtifactError(f"the artifact describes a gate that scores a fixed input {score}, expected a number")
    return gate


def _probed(gate: GateModule) -> float:
    """Score of the classifier's fixed input: whatever does not fit together shows when it is computed."""
    with torch.inference_mode():
        return float(gate(gate.signature.classifier.probe()).score[0])


def _gate(manifest: Manifest, tensors: dict[str, torch.Tensor], classifier: Classifier) -> GateModule:
    described, prevalence = manifest.signature, manifest.recipe.prevalence
    interventions = [from_spec(spec) for spec in described.interventions]
    draws = sum(intervention.draws for intervention in interventions)
    if draws > MOST_DRAWS:
        raise ArtifactError(f"the interventions take {draws} passes, expected at most {MOST_DRAWS}")
    signature = Signature(
        classifier,
        interventions,
        sites=described.sites,
        layer_consistency=_layer_consistency(described.layer_consistency),
        shapley=None if described.shapley is None else ShapleyValues(classifier, described.shapley.width),
        fakeness=None if described.fakeness is None else Fakeness(classifier, **structs.asdict(described.fakeness)),
        chunk=described.chunk,
    )
    beside = manifest.heads.clean_only
    gate = GateModule(
        signature,
        **_detector(manifest.heads.head, tensors, "", prevalence),
        clean_only=None if beside is None else Detector(**_detector(beside, tensors, "clean_only.", prevalence)),
    )
    if isinstance(gate.head, CascadedHead) and gate.head.free != signature.free:
        raise ArtifactError(f"a first head for {gate.head.free} features, where {signature.free} are free")
    return gate


def _detector(described: HeadPart, tensors: dict[str, torch.Tensor], prefix: str, prevalence: float) -> dict[str, Any]:
    """Arguments of a `Detector` from the tensors under a prefix."""
    return {
        "head": head(described, tensors, f"{prefix}head."),
        "clean_scores": tensors[f"{prefix}clean_scores"],
        "threshold": float(tensors[f"{prefix}threshold"]),
        "prevalence": prevalence,
    }


def _layer_consistency(described: LayerConsistencyPart | None) -> LayerConsistency | None:
    return None if described is None else LayerConsistency(described.sites, described.widths)


def reading(artifact: Artifact) -> dict[str, Any]:
    """Arguments of `ce_detect.classifiers.wrapping.wrap` that read a model as it was read at calibration."""
    described = artifact.manifest.model
    return {
        "input_shape": described.input_shape,
        "bounds": described.bounds,
        "sites": described.sites,
        "multi_label": described.multi_label or described.label is not None,
        "label": described.label,
        "output": described.output,
        "resizing": described.resizing,
    }


def check_weights(artifact: Artifact, model: nn.Module) -> None:
    """Refuse a model with other weights than those the detector was calibrated for.

    Raises:
        ModelMismatchError: the weights differ.
    """
    expected, found = artifact.manifest.model.fingerprint, fingerprint(model)
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
    logits, before = probe_logits(classifier), artifact.manifest.model.probe_logits
    relative = max(1e-2, classifier.tolerance)
    slack = relative * float(np.abs(before).max())
    if len(logits) != len(before) or not np.allclose(logits, before, rtol=relative, atol=slack):
        raise ModelMismatchError(
            "the model has the weights this detector was calibrated for, but computes something else "
            "from a fixed input: "
            "compare preprocessing (mean, standard deviation, pixel range) and the model's code with "
            "those at calibration"
        )
