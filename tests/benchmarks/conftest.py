"""Fixtures of the benchmarks' tests."""

from __future__ import annotations

import pytest

from benchmarks.peers.methods import ml_loo, odds, rlt


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers with fewer draws and epochs: what is tested does not need them."""
    monkeypatch.setattr(ml_loo, "SAMPLED", 32)
    monkeypatch.setattr(odds, "DRAWS", 4)
    monkeypatch.setattr(rlt, "EPOCHS", 10)
    monkeypatch.setattr(rlt, "STEPS", 15)
