"""What is attacked."""

from __future__ import annotations

import torch
from support.calibrated import guard
from support.targets import images

from ce_detect.redteam.target import Gated, margin


def test_margin_is_negative_where_another_logit_is_larger() -> None:
    """The margin has the sign of the decision and the size of the gap."""
    assert margin(torch.tensor([[3.0, 1.0, 0.0], [1.0, 4.0, 0.0]]), torch.tensor([0, 0])).tolist() == [2.0, -3.0]


def test_a_gate_is_attacked_by_its_own_detector_or_by_the_one_beside_it() -> None:
    """The score is that of the detector that was asked for."""
    gate, x = guard().gate, images(10)
    assert gate.clean_only is not None
    logits, features = gate.signature(x)
    for detector, target in ((gate, Gated(gate)), (gate.clean_only, Gated(gate, gate.clean_only))):
        torch.testing.assert_close(target.joint(x).score, detector.verdict(logits, features).score)
