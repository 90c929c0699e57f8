"""Fixed inputs and fingerprints."""

from __future__ import annotations

import pytest
import torch
from support.elsewhere import elsewhere
from support.models import Subject, subject

from ce_detect.classifiers.interface import agree
from ce_detect.classifiers.wrapping import wrap


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("plain", "stage1.0.weight"), ("plain", "stage1.1.running_var"), ("branching", "fc.bias")],
)
def test_fingerprint_is_that_of_the_weights(name: str, tensor: str) -> None:
    """Two copies of one model have one fingerprint; a weight or a statistic that differs a little gives another."""
    part = subject(name)
    settings = {"input_shape": part.tiny.shape, "bounds": part.tiny.bounds, "sites": ()}
    assert wrap(part.model, **settings).fingerprint() == part.classifier.fingerprint()
    with torch.no_grad():
        part.model.state_dict()[tensor].view(-1)[0] += 1e-3
    assert wrap(part.model, **settings).fingerprint() != part.classifier.fingerprint()


def test_probe_is_fixed_and_within_bounds(any_model: Subject) -> None:
    """The probe is one input of the right shape within the bounds, not constant, and the same every time."""
    probe = any_model.classifier.probe()
    low, high = any_model.tiny.bounds
    assert probe.shape == (1, *any_model.tiny.shape)
    assert low <= float(probe.min()) < float(probe.max()) <= high
    assert torch.equal(probe, any_model.classifier.probe())


def test_rounding_is_that_of_what_computes() -> None:
    """Logits that differ by 0.3 % are the same in float16, and in float32 where convolutions may compute in TF32."""
    expected = torch.tensor([[1.0, -2.0, 0.5]])
    got = expected * 1.003
    assert not agree(expected, got)
    assert agree(expected.half(), got.half())
    with elsewhere() as device:
        assert agree(expected.to(device), got.to(device))
        assert not agree(expected.to(device), (1.02 * expected).to(device))
