"""A gate as an artifact, and an artifact as a gate in front of its model."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from support import random_heads as heads
from support.gates import gate
from support.manifests import manifest
from support.models import TINY, tiny_classifier, tiny_images

from ce_detect.artifacts.file import Artifact
from ce_detect.artifacts.heads import Mahalanobis
from ce_detect.core.errors import ArtifactError, ModelMismatchError
from ce_detect.detector import serialization
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.heads.cascade import CascadedHead


def made(*, beside: bool = True) -> GateModule:
    """A gate with every part that an artifact can hold."""
    found = gate("plain", "mlp")
    found.head = heads.fused(len(found.signature.names))
    if beside:
        found.clean_only = Detector(found.head.clean, clean_scores=torch.arange(4.0), threshold=2.5, prevalence=0.1)
    return found


def stored(found: GateModule, **changes: Any) -> Artifact:
    """It as an artifact."""
    signature = found.signature
    described = {
        "interventions": [module.spec() for module in signature.interventions],
        "names": [module.name for module in signature.interventions],
        "features": len(signature.names),
        "sites": list(signature.statistics.sites),
        "recovery": signature.layer_consistency.spec(),
        "shapley": signature.shapley.spec(),
        "chunk": signature.chunk,
    }
    plain = manifest(signature=described, model=changes)
    said = msgspec.structs.replace(plain, heads=serialization.kinds_of(found))
    return serialization.to_artifact(found, said, np.array([7, 3], np.uint64))


@pytest.mark.parametrize("beside", [True, False])
def test_a_gate_comes_back_with_its_verdicts(beside: bool) -> None:
    """Of the gate and of the detector beside it, where there is one."""
    before = made(beside=beside)
    again = serialization.to_gate(stored(before), tiny_classifier("plain"))
    x = tiny_images("plain", 8)
    for detector, other in ((before, again), (before.clean_only, again.clean_only)):
        if detector is None or other is None:
            assert detector is other
            continue
        with torch.inference_mode():
            expected, found = detector.verdict(*before.signature(x)), other.verdict(*again.signature(x))
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_identities_of_images_are_kept_in_order() -> None:
    """They are in the artifact, sorted, and not in the gate; an artifact need not have them."""
    artifact = stored(made())
    assert serialization.seen(artifact).tolist() == [3, 7]
    del artifact.tensors["calibration_images"]
    assert serialization.seen(artifact).tolist() == []
    serialization.to_gate(artifact, tiny_classifier("plain"))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("clean_scores", "does not describe a gate for this model: 'clean_scores'"),
        ("head.network.weight0", "does not describe a gate"),
        ("head.slope", r"tensors do not fit its manifest: head\.slope"),
    ],
)
def test_a_missing_tensor_is_named(lost: str, message: str) -> None:
    """Whether it is needed to make the gate or only to fill it."""
    artifact = stored(made())
    del artifact.tensors[lost]
    with pytest.raises(ArtifactError, match=message):
        serialization.to_gate(artifact, tiny_classifier("plain"))


def test_another_kind_of_head_than_the_tensors_have_is_refused() -> None:
    """The manifest says which head it is, and the tensors must be its own."""
    artifact = stored(made())
    wrong = msgspec.structs.replace(
        artifact.manifest, heads=msgspec.structs.replace(artifact.manifest.heads, head=Mahalanobis())
    )
    with pytest.raises(ArtifactError, match="does not describe a gate"):
        serialization.to_gate(Artifact(artifact.tensors, wrong), tiny_classifier("plain"))


def test_a_first_head_for_other_features_is_refused() -> None:
    """What a cascade clears by is what one forward pass gives, no more and no less."""
    found = made(beside=False)
    found.head = CascadedHead(found.head, found.head, level=0.0)
    with pytest.raises(ArtifactError, match=r"a first head for \d+ features, where \d+ are free"):
        serialization.to_gate(stored(found), tiny_classifier("plain"))


def test_a_model_with_other_weights_or_another_answer_is_refused() -> None:
    """Weights are compared before anything runs, answers afterwards."""
    classifier = tiny_classifier("plain")
    told = serialization.probe_logits(classifier)
    same = stored(made(), fingerprint=classifier.fingerprint(), probe_logits=told)
    serialization.check_logits(same, classifier)
    with pytest.raises(ModelMismatchError, match=r"fingerprint ffffffffffff.*allow_other_model=True"):
        serialization.check_weights(stored(made()), torch.nn.Linear(1, 1))
    with pytest.raises(ModelMismatchError, match="computes something else"):
        serialization.check_logits(stored(made(), probe_logits=[value + 5 for value in told]), classifier)


def test_a_model_is_read_as_it_was_at_calibration() -> None:
    """A watched label implies that there are several, as the first artifacts of such models did not say."""
    read = serialization.reading(stored(made(), label=3, input_shape=list(TINY["plain"].shape)))
    assert read["input_shape"] == TINY["plain"].shape
    assert (read["multi_label"], read["label"]) == (True, 3)
