"""Manifests and reports in words."""

from __future__ import annotations

from ce_detect.artifacts.manifest import Promise
from ce_detect.cli._figures import mean_detection, promise


def test_promise_in_words() -> None:
    """The two guarantees read differently."""
    pac = Promise(fpr=0.01, guarantee="pac", confidence=0.9)
    marginal = Promise(fpr=0.01, guarantee="marginal", confidence=0.9)
    assert promise(pac) == "at most 1 % of clean inputs flagged, with confidence 90 %"
    assert promise(marginal) == "at most 1 % of clean inputs flagged, on average over calibrations"


def test_mean_detection_leaves_out_attacks_without_success() -> None:
    """An attack that never succeeded has no rate to average."""
    rates = {"a": 0.5, "b": None, "c": 1.0}
    attacks = {name: {"detection_rate_successes": rate} for name, rate in rates.items()}
    assert mean_detection({"attacks": attacks}) == 0.75
    assert mean_detection({"attacks": {}}) is None
