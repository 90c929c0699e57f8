"""A gradient where an intervention has none."""

from __future__ import annotations

import pytest
import torch
from support.targets import gate_with, images

from ce_detect.interventions import BitDepth
from ce_detect.redteam.bpda import StraightThrough, blind_interventions, needs_help
from ce_detect.redteam.descent import slope
from ce_detect.redteam.target import Gated


def test_bpda_passes_a_blind_intervention(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intervention that rounds without a gradient gets that of leaving the image alone; its outcome stays."""
    smooth = gate_with(BitDepth(bits=2))
    assert not blind_interventions(smooth, images(1))
    assert not needs_help(smooth, images(1))
    monkeypatch.setattr(BitDepth, "forward", lambda _, h: torch.round(h * 3) / 3)
    gate = gate_with(BitDepth(bits=2))
    assert needs_help(gate, images(1))
    x = images(4).requires_grad_()
    helped = StraightThrough(gate, images(4))
    assert [type(module) for module in helped.blind] == [BitDepth]
    assert torch.allclose(helped.joint(x).score, Gated(gate).joint(x).score, atol=1e-4)
    assert not torch.allclose(slope(helped.joint(x).score, x), slope(Gated(gate).joint(x).score, x))
    assert not gate.signature.interventions[0]._forward_hooks
