"""Figures and manifests in words."""

from __future__ import annotations

from support.manifests import manifest

from ce_detect.artifacts.manifest import Promise
from ce_detect.reporting.words import decimal, exact_percent, interventions, mean_detection, percent, promise


def test_figures_in_words() -> None:
    """Measured ones with their digits, chosen ones as they were chosen, absent ones as a dash."""
    assert (percent(0.1234), percent(None)) == ("12.3 %", "-")
    assert (exact_percent(0.01), exact_percent(0.005)) == ("1 %", "0.5 %")
    assert (decimal(0.98765), decimal(None)) == ("0.988", "-")


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


def test_a_secret_seed_is_not_named() -> None:
    """Other settings are."""
    names = {"names": ["GaussianNoise(seed=987654, sigma=0.05)@input"]}
    secret = manifest(signature=names, secret_seed=True)
    assert interventions(secret) == ["GaussianNoise(seed=secret, sigma=0.05)@input"]
    assert interventions(manifest(signature=names)) == names["names"]
