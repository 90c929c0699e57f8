"""Hardening in a few steps on a few images."""

from __future__ import annotations

import pytest

from ce_detect.calibrate import adversarial_rounds
from ce_detect.fitting import robust_copy


def harden_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the copy train for ninety small batches, and the rounds attack few images."""
    monkeypatch.setattr(robust_copy, "BATCH", 32)
    monkeypatch.setattr(robust_copy, "IMAGES", 90 * 32)
    monkeypatch.setattr(adversarial_rounds, "IMAGES", {"fit": 20, "select": 10})
    monkeypatch.setattr(adversarial_rounds, "STEPS", 4)
    monkeypatch.setattr(adversarial_rounds, "RADIUS_IMAGES", 16)
