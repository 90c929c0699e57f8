"""What a concept is, and what is left without it."""

from __future__ import annotations

import torch
from support.interventions import (
    feature_map,
)

from ce_detect.interventions import LearnedIntervention, from_spec


def test_a_concept_is_what_its_channel_adds() -> None:
    """Draw 0 is the reconstruction; each other draw lacks one concept, so that what is missing sums to the whole."""
    h = feature_map()
    made = from_spec({"kind": "AblateConcept", "site": "layer", "channels": 4, "concepts": 3})
    assert isinstance(made, LearnedIntervention)
    with torch.no_grad():
        made.start(h, torch.Generator().manual_seed(0))
    whole, *ablated = made(h).unflatten(0, (4, 7))
    torch.testing.assert_close(whole, made.reconstruct(h))
    without_any = made.decoder(torch.zeros_like(made.encode(h)))
    scale = float(whole.abs().max())
    torch.testing.assert_close(sum(whole - one for one in ablated) + without_any, whole, rtol=1e-4, atol=1e-5 * scale)
