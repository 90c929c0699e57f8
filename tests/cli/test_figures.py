"""Manifests and reports in words."""

from __future__ import annotations

from typing import Any

import pytest
from support.manifests import manifest, plain

from ce_detect.cli._figures import print_controls, print_gate


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
