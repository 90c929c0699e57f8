"""Manifests and reports in words."""

from __future__ import annotations

from typing import Any

import pytest
from support.manifests import manifest, plain

from ce_detect.artifacts.manifest import Promise
from ce_detect.cli._figures import mean_detection, print_controls, print_gate, promise


def test_promise_in_words() -> None:
    """The two guarantees read differently."""
    pac = Promise(fpr=0.01, guarantee="pac", confidence=0.9)
    marginal = Promise(fpr=0.01, guarantee="marginal", confidence=0.9)
    assert promise(pac) == "at most 1 % of clean inputs flagged, with confidence 90 %"
    assert promise(marginal) == "at most 1 % of clean inputs flagged, on average over calibrations"


def attack(**control: float | None) -> dict[str, Any]:
    """Figures of an attack, as far as its control goes."""
    return {"control": dict(control)}


def test_controls_have_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    """What does not exist is a dash, and of an artifact from before there were controls nothing is printed."""
    print_controls("Controls", {"a": attack(flagged=0.25, auroc=0.875), "b": attack(flagged=0.0, auroc=None), "c": {}})
    told = capsys.readouterr().out.splitlines()
    (first,), (second,) = ([line.split() for line in told if line.split()[:1] == [name]] for name in "ab")
    assert (first[1], first[-1]) == ("25.0", "0.875")
    assert second[-1] == "-"
    assert "Controls" in told[0]
    assert not [line for line in told if line.split()[:1] == ["c"]]
    print_controls("Controls", {"c": {}})
    assert capsys.readouterr().out == ""


def test_natural_change_that_counts_as_clean_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """With its severity where it has one."""
    given = {**plain()["recipe"], "corruptions": [{"kind": "jpeg", "severity": 1}, {"kind": "dust"}, {"kind": "flip"}]}
    print_gate("Gate", manifest(recipe=given), 0.5)
    told = " ".join(capsys.readouterr().out.split())
    assert "jpeg 1, dust, flip" in told
    assert "a mixture of which 50 % are so changed" in told


def test_mean_detection_leaves_out_attacks_without_success() -> None:
    """An attack that never succeeded has no rate to average."""
    rates = {"a": 0.5, "b": None, "c": 1.0}
    attacks = {name: {"detection_rate_successes": rate} for name, rate in rates.items()}
    assert mean_detection({"attacks": attacks}) == 0.75
    assert mean_detection({"attacks": {}}) is None
