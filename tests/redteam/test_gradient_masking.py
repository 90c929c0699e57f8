"""Checks for masked gradients."""

from __future__ import annotations

from support.targets import Flat, Mean, attacked


def test_checks_pass_on_an_honest_detector() -> None:
    """A smooth score hides nothing: every check passes on it."""
    report = attacked(Mean(threshold=0.5, wall=0.1))
    assert len(report.checks) == 4
    assert [check.name for check in report.checks if not check.passed] == []
    assert set(report.by_attack) == {"selective-pgd"}


def test_checks_fail_on_a_detector_of_steps() -> None:
    """Rounded scores leave gradient descent without direction, and black-box search says so."""
    report = attacked(Flat(threshold=0.5, wall=0.1))
    assert any(not check.passed for check in report.checks)
    assert not report.checks[-1].passed
