"""HopSkipJump."""

from __future__ import annotations

import pytest
import torch
from support.targets import case, gated

from ce_detect.redteam.hopskipjump import SETTINGS, hopskipjump


def test_hopskipjump_finds_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """From an image of another class that passes, it comes closer than that image is, by decisions alone."""
    for setting, value in {"max_iter": 2, "max_eval": 40, "init_eval": 10}.items():
        monkeypatch.setitem(SETTINGS, setting, value)
    some = case(6)
    found = hopskipjump(gated(), some.x, some.labels, seed=0)
    others = [
        (some.x[some.labels != label] - x).abs().amax((1, 2, 3)).min()
        for x, label in zip(some.x, some.labels, strict=True)
    ]
    assert (found < torch.stack(others)).sum() >= 4
