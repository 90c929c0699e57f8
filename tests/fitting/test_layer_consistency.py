"""How early sites follow from the deepest one: small on clean images, large on others, and saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.manifests import manifest

from ce_detect.artifacts.file import Artifact
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images, load_data
from ce_detect.detector import serialization
from ce_detect.detector.gate import GateModule
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.signature import Signature
from ce_detect.fitting import layer_consistency
from ce_detect.heads.network import NetworkHead
from ce_detect.interventions import Scale

SITE = "stage2.8"


@pytest.fixture(scope="module")
def images() -> Images:
    """Real test images of the embedded data."""
    return load_data("demo").subset(np.arange(700))


def test_the_error_is_small_on_clean_images_and_large_on_noise(fashion: TorchClassifier, images: Images) -> None:
    """In units of the clean error: about 1 on clean images that were held out, far more on images of pure noise."""
    made = layer_consistency.fitted(fashion, images.x[:500])
    assert made is not None
    noise = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        clean = made(fashion.trace(torch.from_numpy(images.x[500:])).latents)
        odd = made(fashion.trace(noise).latents)
    assert clean.shape == (200, len(fashion.sites) - 1)
    assert made.names == tuple(f"trace.layer-consistency[{site}]" for site in fashion.sites[:-1])
    assert float(clean.exp().mean()) == pytest.approx(1, abs=0.5)
    assert (odd.mean(0) > clean.mean(0) + 1).all()


def test_a_linear_relation_is_found_where_there_is_one() -> None:
    """Features that follow linearly from the deepest ones are predicted; others are missed by all their scale."""
    rng = np.random.default_rng(0)
    deep = rng.normal(size=(4000, 3))
    linear, independent = deep @ rng.normal(size=(3, 2)), rng.normal(size=(4000, 1))
    made = layer_consistency.from_pooled(("a", "b", "c"), [linear, independent, deep])
    assert float(made.error[:2].max()) < 0.15
    assert float(made.error[2]) == pytest.approx(1, abs=0.05)
    with pytest.raises(CalibrationError, match="two sites"):
        LayerConsistency(("a",), (3,))


def test_layer_consistency_is_saved_with_the_gate(fashion: TorchClassifier, images: Images, tmp_path: Path) -> None:
    """A gate with layer consistency comes back from its file with the same scores."""
    made = layer_consistency.fitted(fashion, images.x[:500])
    assert made is not None
    signature = Signature(fashion, [Scale(site=SITE)], layer_consistency=made)
    zero, one = torch.zeros(len(signature.names)), torch.ones(len(signature.names))
    head = NetworkHead(zero, one, one[:, None], torch.zeros(1), [])
    gate = GateModule(signature, head, clean_scores=torch.zeros(10), threshold=0.0, prevalence=0.1).eval()
    described = {"interventions": [Scale(site=SITE).spec()], "sites": [], "recovery": made.spec()}
    described["features"] = len(signature.names)
    artifact = serialization.to_artifact(gate, manifest(signature=described, heads={"head": {"kind": "network"}}))
    artifact.save(tmp_path / "a.safetensors")
    again = serialization.to_gate(Artifact.load(tmp_path / "a.safetensors"), fashion)
    x = torch.from_numpy(images.x[500:520])
    with torch.inference_mode():
        assert torch.equal(again(x).score, gate(x).score)
