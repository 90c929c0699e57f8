"""The hardened copy of a calibration: what it is trained on, and whether the budget has room for it."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from support.calibrated import QUICK, cache, images
from support.gates import demo
from support.hardening import harden_quickly
from torch import Tensor

from ce_detect import CalibrationError, DetectedModel
from ce_detect.calibrate import hardening
from ce_detect.calibrate.items import Item
from ce_detect.classifiers.flops import flops
from ce_detect.data.splits import identities
from ce_detect.demo.model import fashion_cnn
from ce_detect.fitting import robust_copy
from ce_detect.interventions import RobustCopy


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    harden_quickly(monkeypatch)


def fresh() -> Tensor:
    """Images that nothing here was trained on."""
    from ce_detect import load_data

    return torch.from_numpy(np.asarray(load_data("demo", limit=500).x[300:]))


@pytest.mark.slow
def test_images_of_the_calibration_are_left_out_of_those_given(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is tested, or sets the threshold, is not trained on even when it is given to harden with.

    What was trained on is known: figures on it come with a warning.
    """
    shown: list[Any] = []
    monkeypatch.setattr(robust_copy, "trained", lambda _, copy, x, *args, **more: shown.append(np.asarray(x[:])))
    guard = DetectedModel(fashion_cnn())
    everything = np.concatenate([images().x, fresh().numpy()])
    guard.calibrate(
        images().x, recipe=QUICK, fpr=0.1, budget=math.inf, jobs=1, cache=cache(), harden=1, harden_with=everything
    )
    (x,) = shown
    fitted = len(x) - len(fresh())
    assert 0 < fitted < len(images())
    assert np.isin(identities(fresh().numpy()), identities(x)).all()
    assert np.isin(identities(images().x), identities(x)).sum() == fitted
    with caplog.at_level(logging.WARNING, "ce_detect"):
        guard.evaluate(fresh().numpy(), attacks=())
    assert "200 of these 200 images were used in calibration" in caplog.text


@pytest.mark.slow
def test_copy_that_does_not_fit_is_said_before_it_is_trained(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even the smallest is above a budget of 1.1; the detector is then made without, and says what would do."""

    def never(*args: Any, **more: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(robust_copy, "trained", never)
    settings: dict[str, Any] = {"recipe": QUICK, "fpr": 0.1, "budget": 1.1, "jobs": 1, "cache": cache()}
    with caplog.at_level(logging.WARNING, "ce_detect"):
        guard = DetectedModel(fashion_cnn()).calibrate(images().x, harden=1, **settings)
    assert "too much for a budget of 1.10" in caplog.text
    assert not any(isinstance(module, RobustCopy) for module in guard.gate.signature.interventions)


class Priced:
    """In the place of the meter: a whole copy costs a forward pass, a smaller one its share."""

    def pytorch(self, items: tuple[Item, ...]) -> float:
        scales = [item.intervention.scale for item in items if isinstance(item.intervention, RobustCopy)]
        return 1.1 + sum(scale**2 for scale in scales)

    def cost(self, items: tuple[Item, ...], budget: float) -> float:
        return self.pytorch(items)

    def onnxruntime(self, items: tuple[Item, ...]) -> dict[int, float]:
        return {}


@pytest.mark.parametrize(("budget", "scale"), [(3.0, 1.0), (2.0, 0.75), (1.5, 0.5), (1.2, None)])
def test_copy_is_as_large_as_the_budget_allows(
    budget: float, scale: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Where not even the smallest fits there is none, and a warning names the budget that it needs."""
    with caplog.at_level(logging.WARNING, "ce_detect"):
        copy = hardening._affordable(demo(), Priced(), budget)  # type: ignore[arg-type]
    assert (None if copy is None else copy.scale) == scale
    assert ("Ask for a budget of 1.4" in caplog.text) == (scale is None)


def test_images_to_harden_with_need_hardening() -> None:
    """Images that nothing would be done with are an error."""
    with pytest.raises(CalibrationError, match="harden = 0"):
        DetectedModel(fashion_cnn()).calibrate(images().x, recipe=QUICK, harden_with=images().x)


def test_a_model_that_is_too_large_for_a_whole_copy_may_have_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps of training are bounded by work: only a copy of half the size learns enough here, and nothing is warned."""
    monkeypatch.setattr(robust_copy, "WORK", 1.1 * flops(demo()) * 0.25 * robust_copy.BATCH * robust_copy.LEAST_STEPS)
    with caplog.at_level(logging.WARNING, "ce_detect"):
        copy = hardening._affordable(demo(), Priced(), 3.0)  # type: ignore[arg-type]
    assert copy is not None
    assert copy.scale == 0.5
    assert not caplog.text
    monkeypatch.setattr(robust_copy, "WORK", 1.0)
    with caplog.at_level(logging.WARNING, "ce_detect"):
        assert hardening._affordable(demo(), Priced(), 3.0) is None  # type: ignore[arg-type]
    assert "too large to train a copy" in caplog.text
