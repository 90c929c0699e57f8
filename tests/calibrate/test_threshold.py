"""The threshold holds for every kind of clean image: plain, naturally changed, the user's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.calibrated import QUICK
from support.models import as_array, subject, tiny_images

from ce_detect.calibrate import threshold
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.data import Pixels
from ce_detect.data.corruptions import Corruption
from ce_detect.verdict import conformal

NATURAL = (Corruption("brightness"), Corruption("uniform-noise", 2))
CLEAN = as_array(tiny_images("plain", 60))
OWN = as_array(tiny_images("plain", 30, seed=9))


def variants(settings: CalibrationSettings, own: Pixels | None = None) -> list[threshold.Variant]:
    """What the threshold of the plain CNN must hold for."""
    data: Any = SimpleNamespace(clean={"calibrate": CLEAN}.get, beside={} if own is None else {"calibrate": own})
    return threshold.variants(subject("plain").classifier, data, settings)


def asked(*corruptions: Corruption, **changes: Any) -> CalibrationSettings:
    """Settings of a recipe with these corruptions."""
    return CalibrationSettings.of(recipe=QUICK.with_corruptions(corruptions), fpr=0.1, **changes)


def test_plain_images_come_first_and_may_be_all() -> None:
    """A recipe without corruptions has no others."""
    (plain,) = variants(asked())
    assert plain.pixels is CLEAN
    assert variants(asked(*NATURAL), OWN)[0].pixels is CLEAN


def test_the_mixture_changes_as_many_as_the_recipe_says() -> None:
    """Each image is there once, in its place."""
    mixed = variants(asked(*NATURAL))[1].pixels
    moved = np.abs(np.asarray(mixed) - CLEAN).max((1, 2, 3))
    assert len(mixed) == len(CLEAN)
    assert 0.3 < (moved > 0).mean() < 0.7
    assert moved.max() < 0.35


def test_the_rate_holds_for_what_was_asked_and_twice_of_it_for_each_kind() -> None:
    """Plain, mixed and the user's own are promised; a kind alone may be flagged twice as often, at each strength."""
    found = variants(asked(*NATURAL), OWN)
    kinds = ["brightness 1", "brightness 2", "uniform-noise 2"]
    assert [one.name for one in found] == ["plain images", "the mixture with natural change", "also_clean", *kinds]
    assert [one.fpr for one in found] == [0.1] * 3 + [0.2] * 3
    assert [one.guarantee for one in found] == ["pac"] * 3 + ["marginal"] * 3
    assert found[2].pixels is OWN
    for place, severity in ((3, 1), (4, 2)):
        expected = Corruption("brightness", severity)(CLEAN[severity - 1 :: 2], bounds=(0.0, 1.0), seed=0)
        np.testing.assert_array_equal(np.asarray(found[place].pixels), expected)
    assert len(found[5].pixels) == len(CLEAN)


def test_the_largest_threshold_counts(caplog: pytest.LogCaptureFixture) -> None:
    """Whichever kind of image it comes from; the scores that p-values come from stay those of plain images."""
    held = variants(asked(*NATURAL), OWN)
    low, high = np.linspace(0, 1, 100, dtype=np.float32), np.linspace(0, 5, 60, dtype=np.float32)
    for place, one in enumerate(held):
        scores = [low] * place + [high] + [low] * (len(held) - place - 1)
        made = threshold.detector(scores, held, asked())
        assert made["threshold"] == conformal.threshold(high, one.fpr, guarantee=one.guarantee, confidence=0.95)
        np.testing.assert_array_equal(made["clean_scores"].numpy(), scores[0])
        assert ("alone sets the threshold" in caplog.text) == (place >= 3)
    assert (
        "brightness 2 alone sets the threshold: 0 % of the plain images are flagged, of 10 % that you allow"
        in caplog.text
    )
