"""Figures of a gate, held against their definitions."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace

import numpy as np
import pytest
from support import calibrated

from ce_detect.attacks import Attack
from ce_detect.attacks.controls import Shuffled
from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.data import load_data
from ce_detect.evaluate import report
from ce_detect.evaluate.figures import CorruptionFigures
from ce_detect.evaluate.metrics import auroc

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


def test_controls_are_the_same_perturbations_shuffled() -> None:
    """Their flags are counted, and successes are told from them; they follow the seed."""
    guard, x = calibrated.guard(), load_data("demo").x[300:500]
    found, other = (
        report.evaluate(guard.gate, x, None, {PGD.name: twins()}, target=0.1, seed=seed).attacks[PGD.name].control
        for seed in (0, 1)
    )
    control = guard(np.asarray(Shuffled(twins().pixels, x[twins().index], (0.0, 1.0), 0)))
    attacked = guard(twins().x)
    success = attacked.label != guard(x).label[twins().index]
    assert found.flagged == pytest.approx(control.is_adversarial.mean())
    assert found.auroc == pytest.approx(auroc(control.score, attacked.score[success]), abs=1e-3)
    assert other != found


def test_a_control_is_of_its_own_image() -> None:
    """Also where an attack covers some of the images, in another order."""
    guard, x = calibrated.guard(), load_data("demo").x[300:500]
    some = np.arange(60)[::-3]
    alone = report.evaluate(
        guard.gate, x[some], None, {PGD.name: AttackedSet(PGD, twins().x[some], np.arange(20))}, target=0.1
    )
    among = report.evaluate(guard.gate, x, None, {PGD.name: twins().subset(some)}, target=0.1)
    assert among.attacks[PGD.name].control.flagged == pytest.approx(alone.attacks[PGD.name].control.flagged)
    assert among.attacks[PGD.name].control.auroc == pytest.approx(alone.attacks[PGD.name].control.auroc)


def flagged(rate: float) -> CorruptionFigures:
    """Figures of a natural change that is flagged so often."""
    return CorruptionFigures(100, rate, rate, 0.0, None, None)


def test_natural_change_that_is_flagged_too_often_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Above twice the rate that was asked for, by name and with what would help; up to that nothing is said."""
    guard, x = calibrated.guard(), load_data("demo").x[300:304]
    plain = report.evaluate(guard.gate, x, None, {}, target=0.05)
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        replace(plain, corruptions={"jpeg 1": flagged(0.1), "dust 2": flagged(0.02)}).warn()
        assert not caplog.records
        replace(plain, corruptions={"jpeg 1": flagged(0.12), "dust 2": flagged(0.02), "grey 2": flagged(1.0)}).warn()
    (told,) = caplog.messages
    assert "more than twice the 5 % asked for: jpeg 1 12%, grey 2 100%. " in told
    assert "dust" not in told
    assert "--natural" in told


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
    assert plain["attacks"]["none"]["control"]["auroc"] is None
    assert plain["attacks"]["none"]["control"]["flagged"] == plain["clean"]["false_positive_rate"]
    assert plain["attacks"]["none"]["clean_only"]["detection_rate_successes"] is None
