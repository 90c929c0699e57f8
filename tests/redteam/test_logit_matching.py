"""Logits to be matched."""

from __future__ import annotations

import torch

from ce_detect.redteam.logit_matching import anchors


def test_anchors_have_another_label() -> None:
    """The logits to be matched are those of the nearest image of another class."""
    logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 9.0]])
    assert torch.equal(anchors(logits, logits.argmax(1))[:2], logits[[2, 2]])
