"""A calibrated detector on new images."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from support.calibrated import cache, guard, images

from ce_detect.data import load_data
from ce_detect.data.corruptions import MILD
from ce_detect.guard import evaluation


def test_images_of_the_calibration_are_called_out(caplog: pytest.LogCaptureFixture) -> None:
    """Figures on images that the detector has seen are too good; on others nothing is said."""
    first = images()
    mixed = np.concatenate([first.x[:7], load_data("demo").x[300:305]])
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        found = evaluation.evaluate(guard().calibrated, guard().wrapped.images(mixed), attacks=(), corruptions=())
    assert found.seen == 7
    assert "7 of these 12 images were used in calibration" in caplog.text
    caplog.clear()
    evaluation.evaluate(guard().calibrated, guard().wrapped.images(mixed[7:]), attacks=(), corruptions=())
    assert not caplog.records


def test_attacks_and_target_are_those_of_the_calibration() -> None:
    """Unless others are named, the recipe's attacks are made anew, and the rate is held against the one promised."""
    fresh = guard().wrapped.images(load_data("demo").x[300:312])
    found = evaluation.evaluate(guard().calibrated, fresh, corruptions=MILD[:1], cache=cache(), jobs=1)
    assert list(found.attacks) == ["pgd 6/255"]
    assert list(found.corruptions) == [MILD[0].name]
    assert (found.target, found.clean.n, found.clean.accuracy) == (0.1, 12, None)
