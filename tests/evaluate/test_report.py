"""Figures of a gate, held against their definitions."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from support import calibrated

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.data import load_data
from ce_detect.evaluate import report

PGD = Attack.of(**calibrated.PGD)


@functools.cache
def twins() -> AttackedSet:
    """Images that calibration did not see, under the attack that it learned."""
    x = load_data("demo").x[300:500]
    return attack_all(calibrated.guard().classifier, x, (PGD,), seed=1, cache=calibrated.cache(), jobs=1)[PGD.name]


def test_figures_are_those_of_the_verdicts() -> None:
    """Rates over clean inputs, attempts and successes are what counting verdicts gives."""
    guard, images = calibrated.guard(), load_data("demo").subset(slice(300, 500))
    found = report.evaluate(guard.gate, images.x, images.y, {PGD.name: twins()}, target=0.1)
    clean, attacked = guard(images.x), guard(twins().x)
    right, success = clean.label == images.y, attacked.label != clean.label
    assert (found.threshold, found.target, found.corruptions) == (guard.threshold, 0.1, {})
    assert found.clean.n == 200
    assert found.clean.false_positive_rate == pytest.approx(clean.is_adversarial.mean())
    assert found.clean.false_positive_rate_misclassified == pytest.approx(clean.is_adversarial[~right].mean())
    assert found.clean.passed_accuracy == pytest.approx(right[~clean.is_adversarial].mean())
    figures = found.attacks[PGD.name]
    assert figures.success_rate == pytest.approx(success.mean())
    assert figures.detection_rate_successes == pytest.approx(attacked.is_adversarial[success].mean())
    assert figures.evasion_rate == pytest.approx((success & ~attacked.is_adversarial).mean())
    assert figures.auroc_successes > 0.9


def test_what_does_not_exist_is_none_in_plain_data() -> None:
    """Without labels there is no accuracy, without a success no rate of theirs."""
    guard, x = calibrated.guard(), load_data("demo").x[300:310]
    unchanged = AttackedSet(PGD, x, np.arange(10))
    found = report.evaluate(guard.gate, x, None, {"none": unchanged}, target=0.1)
    assert np.isnan(found.attacks["none"].detection_rate_successes)
    plain = found.to_dict()
    assert plain["clean"]["accuracy"] is None
    assert plain["attacks"]["none"]["success_rate"] == 0
    assert plain["attacks"]["none"]["auroc_successes"] is None
    assert plain["attacks"]["none"]["clean_only"]["detection_rate_successes"] is None
