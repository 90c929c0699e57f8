"""A model before and behind a gate, on few images and with one-step attacks."""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import pytest
from support.calibrated import cache

from ce_detect.attacks import Attack
from ce_detect.data import Images, load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.evaluate.assessment import AS_JPEG
from ce_detect.guard import assessment
from ce_detect.guard.assessment import Asked, Assessment, assess
from ce_detect.guard.detected_model import DetectedModel

RECIPE = """
head = "logistic"
[splits]
fit = 0.5
select = 0.2
calibrate = 0.3
test = 0.0
[[attack]]
kind = "fgsm"
[[intervention]]
kind = "Flip"
"""

ATTACKS = (Attack.of("fgsm", eps="2/255"), Attack.of("fgsm", eps="8/255"))


@functools.cache
def found() -> Assessment:
    """An assessment of the demo classifier with labels."""
    recipe = cache() / "assess.toml"
    recipe.write_text(RECIPE)
    asked = Asked(attacks=ATTACKS, recipe=str(recipe), budget=math.inf, cache=cache(), jobs=1)
    return assess(DetectedModel(fashion_cnn()), load_data("demo", limit=360), asked)


def test_the_model_alone_is_measured_at_each_strength() -> None:
    """A larger bound fools it more often; what is saved as JPEG fools it less."""
    weak, strong = found().fooled["fgsm 2/255"], found().fooled["fgsm 8/255"]
    assert weak.fresh < strong.fresh
    assert strong.saved <= strong.fresh + 0.1
    assert weak.change < strong.change
    assert strong.accuracy is not None
    assert strong.accuracy < 0.6
    assert (strong.access, strong.norm, strong.eps) == ("white-box", "Linf", "8/255")


def test_natural_change_is_measured_without_a_gate() -> None:
    """Every kind, as a share of decisions that it moves."""
    assert len(found().borne) == len(assessment.NATURAL)
    assert found().borne["gamma 1"].changed < 0.2 < found().borne["contrast 1"].changed


def test_a_gate_is_looked_at_on_other_images() -> None:
    """More false alarms, more attacks; nothing is measured on what it was calibrated on."""
    rates = [choice.asked for choice in found().choices]
    assert rates == sorted(rates)
    assert [choice.clean for choice in found().choices] == sorted(choice.clean for choice in found().choices)
    assert [choice.fresh for choice in found().choices] == sorted(choice.fresh for choice in found().choices)
    assert found().guard is not None
    assert found().report is not None
    assert found().report.seen == 0
    assert {"fgsm 8/255", "fgsm 8/255" + AS_JPEG} <= set(found().report.attacks)
    assert found().images == 90


def test_too_few_images_without_labels_give_no_gate_but_all_else(caplog: pytest.LogCaptureFixture) -> None:
    """It is said why there is no gate; no accuracy is made up; the same seed gives the same figures."""
    images = Images(load_data("demo", limit=40).x, None, (0.0, 1.0))
    asked = Asked(attacks=ATTACKS[1:], cache=cache(), jobs=1)
    few, again = (assess(DetectedModel(fashion_cnn()), images, asked) for _ in range(2))
    assert (few.guard, few.choices, few.accuracy) == (None, [], None)
    assert "images in all would do" in few.why_not
    assert "no gate could be made" in caplog.text
    one = few.fooled["fgsm 8/255"]
    assert (one.n, one.accuracy) == (10, None)
    assert one.fresh > 0.3
    assert (few.fooled, few.borne) == (again.fooled, again.borne)


def test_a_model_without_gradients_is_only_asked() -> None:
    """Its attacks see scores or labels alone."""
    for differentiable, seen in ((True, {"white-box", "scores"}), (False, {"scores", "decisions"})):
        classifier = SimpleNamespace(differentiable=differentiable)
        assert {attack.info.access for attack in assessment.attacks_on(classifier)} == seen
