"""The threshold holds for every kind of clean image: plain, naturally changed, the user's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
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


def variants(settings: CalibrationSettings, own: Pixels | None = None) -> list[Pixels]:
    """What the threshold of the plain CNN must hold for."""
    data: Any = SimpleNamespace(clean={"calibrate": CLEAN}.get, beside={} if own is None else {"calibrate": own})
    return threshold.variants(subject("plain").classifier, data, settings)


def asked(*corruptions: Corruption, **changes: Any) -> CalibrationSettings:
    """Settings of a recipe with these corruptions."""
    return CalibrationSettings.of(recipe=QUICK.with_corruptions(corruptions), fpr=0.1, **changes)


def test_plain_images_come_first_and_may_be_all() -> None:
    """A recipe without corruptions has no others."""
    (plain,) = variants(asked())
    assert plain is CLEAN
    assert variants(asked(*NATURAL), OWN)[0] is CLEAN


def test_the_mixture_changes_as_many_as_the_recipe_says() -> None:
    """Each image is there once, in its place."""
    _, mixed = variants(asked(*NATURAL))
    moved = np.abs(np.asarray(mixed) - CLEAN).max((1, 2, 3))
    assert len(mixed) == len(CLEAN)
    assert 0.3 < (moved > 0).mean() < 0.7
    assert moved.max() < 0.25


def test_the_users_own_come_last() -> None:
    """With and without a mixture."""
    for settings, count in ((asked(), 2), (asked(*NATURAL), 3)):
        found = variants(settings, OWN)
        assert len(found) == count
        assert found[-1] is OWN


def test_the_largest_threshold_counts() -> None:
    """Whichever kind of image it comes from; the scores that p-values come from stay those of plain images."""
    low, high = np.linspace(0, 1, 100, dtype=np.float32), np.linspace(0, 5, 60, dtype=np.float32)
    of_high = conformal.threshold(high, 0.1, guarantee="pac", confidence=0.95)
    for scores in ([low, high, low], [low, low, high], [high, low]):
        made = threshold.detector(scores, asked())
        assert made["threshold"] == of_high
        np.testing.assert_array_equal(made["clean_scores"].numpy(), scores[0])
