"""A calibration with a cascade: what it clears, what it costs, what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from support.calibrated import CLEAN, QUICK, SETTINGS, cache, fresh, images
from support.cascades import guard
from support.models import TINY, tiny_images
from support.onnx_files import quantized, tiny_file

from ce_detect import CalibrationError, DetectedModel
from ce_detect.artifacts.manifest import Manifest
from ce_detect.calibrate.cascade import check_budget
from ce_detect.calibrate.cost.pytorch import Meter
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector.cascade import First, cascaded
from ce_detect.heads.cascade import CLEARED
from ce_detect.redteam.settings import Plan
from ce_detect.redteam.target import Gated
from ce_detect.reporting.words import cost


@pytest.mark.slow
def test_calibrated_cascade_clears_most_clean_inputs_and_still_detects() -> None:
    """About `CLEARED` of fresh clean images, few of those under attack, and nothing that is cleared is flagged."""
    clean, attacked = (torch.from_numpy(x) for x in fresh())
    made = guard().gate
    level = cascaded(made).level
    with torch.inference_mode():
        of_clean, of_attacked = ((First(made)(x)[2] <= level).float().mean() for x in (clean, attacked))
    assert abs(of_clean - CLEARED) < 0.15
    assert of_attacked < 0.1
    assert level < made.threshold
    assert guard()(attacked).is_adversarial.float().mean() > guard()(clean).is_adversarial.float().mean() + 0.5
    found = guard().manifest["figures"]["cascade"]
    assert abs(found["cleared"] - CLEARED) < 0.15
    assert found["cost_of_others"] > guard().manifest["figures"]["cost"]
    assert found["served_cost_of_others"] == {}  # there is no budget that a cost there would be held against
    assert guard().manifest["cascade"]
    assert found["cleared_attacked"] == {}
    assert "are cleared early; others cost" in cost(Manifest.of(guard().manifest))
    beside = {**found, "cleared_attacked": {"pgd": 0.01, "fgsm": 0.03}}
    figures = {**guard().manifest["figures"], "cascade": beside}
    assert "(and 2.0 % of attacked ones)" in cost(Manifest.of({**guard().manifest, "figures": figures}))


def test_level_does_not_depend_on_the_images_that_set_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Darker ones in *calibrate*: another threshold, the same level and heads; or the promise would not hold."""
    clean, mine = CalibrationData.clean, guard()

    def darker(self: CalibrationData, split: str) -> Any:
        return np.asarray(clean(self, split)[:]) * np.float32(0.8) if split == "calibrate" else clean(self, split)

    monkeypatch.setattr(CalibrationData, "clean", darker)
    other = DetectedModel(fashion_cnn()).calibrate(
        images().x, recipe=QUICK, jobs=1, cache=cache(), cascade=True, **SETTINGS
    )
    assert other.threshold != mine.threshold
    heads = [cascaded(made.gate).state_dict() for made in (other, mine)]
    for name, value in heads[0].items():  # what was learned inside has no likelihoods of its own, but NaN
        assert torch.allclose(value, heads[1][name], rtol=0, atol=0, equal_nan=True)


def test_a_cascade_that_clears_too_little_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It costs more than what was timed; the budget is then not kept, and a warning says why."""
    figures = {"cost": 1.2, "served_cost": {"1": 1.7}, "cascade": {"cleared": 0.3}}
    meter = cast(Meter, SimpleNamespace(tight=lambda budget: {}))
    with caplog.at_level(logging.WARNING, "ce_detect"):
        check_budget(figures, meter, 1.6)
        assert not caplog.text
        check_budget(figures, meter, 1.5)
    assert "clears 30 % of clean images, so the gate costs 1.55" in caplog.text


def test_black_box_that_takes_no_empty_batch_is_refused_first(tmp_path: Path) -> None:
    """The graph of a cascade would fail wherever all inputs are cleared; an hour of attacks would be for nothing."""
    onnx.save(quantized(tiny_file("in-place", dynamo=False)), tmp_path / "quantized.onnx")
    tiny = TINY["in-place"]
    made = DetectedModel(str(tmp_path / "quantized.onnx"), input_shape=tiny.shape, bounds=tiny.bounds)
    with pytest.raises(CalibrationError, match="cannot run an empty batch"):
        made.calibrate(tiny_images("in-place", 300).numpy(), recipe="black-box", fpr=0.1, cascade=True)


@pytest.mark.parametrize(
    ("settings", "said"), [({"harden": 1}, "exclude each other"), ({"recipe": CLEAN}, "clean images alone")]
)
def test_what_has_no_cascade_is_refused(settings: dict[str, Any], said: str) -> None:
    """A hardened copy must see every input, and what may be cleared is learned from attacks."""
    given = {"recipe": QUICK, **SETTINGS, **settings}
    with pytest.raises(CalibrationError, match=said):
        DetectedModel(fashion_cnn()).calibrate(images().x, jobs=1, cache=cache(), cascade=True, **given)


@pytest.mark.slow
def test_red_team_attacks_both_heads() -> None:
    """Its verdicts are those of the gate, and with large perturbations it gets through."""
    clean, attacked = fresh()
    target = Gated(guard().gate)
    for x in (clean, attacked):
        with torch.inference_mode():
            found = target.joint(torch.from_numpy(x)).score > target.threshold
        assert np.array_equal(found.numpy(), guard()(x).is_adversarial)
    report = guard().redteam(clean[:6], plan=Plan(steps=20, decisions=0, queries=0, seed=0))
    assert any(radius is not None for radius in report.radii_joint)
