"""Noise has the strength that it is told."""

from __future__ import annotations

import pytest
import torch

from ce_detect.interventions import from_spec


def test_noise_has_the_strength_it_is_told() -> None:
    """The standard deviation is ``sigma`` times the pixel range, and the same pattern meets every input."""
    h = torch.zeros(2, 3, 32, 32)
    out = from_spec({"kind": "GaussianNoise", "sigma": 0.1, "width": 255.0, "draws": 4})(h).unflatten(0, (4, 2))
    assert float(out.std()) == pytest.approx(25.5, rel=0.03)
    assert torch.equal(out[:, 0], out[:, 1])
    assert not torch.equal(out[0], out[1])
