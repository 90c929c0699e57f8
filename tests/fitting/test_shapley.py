"""The background of Shapley values, and gates that keep it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.manifests import manifest, plain
from support.models import TINY, tiny_classifier, tiny_model

from ce_detect.artifacts.file import Artifact
from ce_detect.artifacts.manifest import Manifest
from ce_detect.classifiers.base import PENULTIMATE
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ArtifactError
from ce_detect.data import load_data
from ce_detect.detector import serialization
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.fitting import shapley
from ce_detect.heads.network import NetworkHead
from ce_detect.interventions import Flip


def test_the_background_is_the_mean_of_the_images_that_are_given(fashion: TorchClassifier) -> None:
    """Of all of them, whatever the size of a batch."""
    x = load_data("demo").x[:300]
    made = shapley.fitted(fashion, x)
    assert made is not None
    with torch.inference_mode():
        expected = fashion.trace(torch.from_numpy(x), (PENULTIMATE,)).latents[PENULTIMATE].mean(0)
    torch.testing.assert_close(made.background, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_made_without_images_or_a_linear_last_layer(fashion: TorchClassifier) -> None:
    """A search then has no such candidate."""
    assert shapley.fitted(fashion, load_data("demo").x[:0]) is None
    shape = TINY["plain"]
    sites = tiny_classifier("plain").sites[:1]
    headless = wrap(tiny_model("plain"), input_shape=shape.shape, bounds=shape.bounds, sites=sites)
    assert shapley.fitted(headless, np.zeros((4, *shape.shape), np.float32)) is None


def test_shapley_values_are_saved_with_the_gate(fashion: TorchClassifier, tmp_path: Path) -> None:
    """The gate comes back with the same scores; a file that names another width is refused."""
    x = load_data("demo").x
    made = shapley.fitted(fashion, x[:200])
    assert made is not None
    signature = Signature(fashion, [Flip()], shapley=made)
    zero, one = torch.zeros(len(signature.names)), torch.ones(len(signature.names))
    head = NetworkHead(zero, one, one[:, None], torch.zeros(1), [])
    gate = GateModule(signature, head, clean_scores=torch.zeros(10), threshold=0.0, prevalence=0.1).eval()
    described = {
        "interventions": [Flip().spec()],
        "features": len(signature.names),
        "sites": [],
        "recovery": None,
        "shapley": made.spec(),
    }
    said = manifest(signature=described, heads={"head": {"kind": "network"}})
    serialization.to_artifact(gate, said).save(tmp_path / "a.safetensors")
    loaded = Artifact.load(tmp_path / "a.safetensors")
    again = serialization.to_gate(loaded, fashion)
    judged = torch.from_numpy(x[200:220])
    with torch.inference_mode():
        assert torch.equal(again(judged).score, gate(judged).score)
    wrong = manifest(signature={**described, "shapley": {"width": 3}}, heads={"head": {"kind": "network"}})
    with pytest.raises(ArtifactError, match="SHAP signatures of 3 activations"):
        serialization.to_gate(Artifact(loaded.tensors, wrong), fashion)


def test_a_manifest_from_before_has_none() -> None:
    """It reads as it did, and no key of it is new."""
    assert Manifest.of(plain()).signature.shapley is None
    assert "shapley" not in manifest().plain()["signature"]
    assert manifest(signature={"shapley": {"width": 8}}).plain()["signature"]["shapley"] == {"width": 8}
