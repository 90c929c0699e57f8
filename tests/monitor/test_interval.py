"""The running estimate of the false-alarm rate."""

from __future__ import annotations

import numpy as np
import pytest

from ce_detect.core.errors import UsageError
from ce_detect.monitor.interval import BLOCK, FalseAlarmRate


def test_the_interval_holds_at_any_time() -> None:
    """Who looks after each of 900 reviews finds the true rate outside in at most 5 % of 200 streams."""
    missed, random = 0, np.random.default_rng(0)
    for _ in range(200):
        rate = FalseAlarmRate()
        for flagged in random.random(900) < 0.03:
            rate.add(int(flagged), 1)
            if rate.clean % 50 == 0:
                low, high = rate.interval
                if not low <= 0.03 <= high:
                    missed += 1
                    break
    assert missed <= 10


def test_it_narrows_with_reviews() -> None:
    """From nothing to a few percent."""
    rate = FalseAlarmRate()
    assert rate.interval == (0.0, 1.0)
    assert rate.estimate is None
    rate.add(40, 900)
    low, high = rate.interval
    assert 0.02 < low < rate.estimate < high < 0.08
    assert rate.estimate == pytest.approx(40 / 900)


@pytest.mark.parametrize(("flagged", "edge"), [(0, 0.0), (50, 1.0)])
def test_all_or_none_flagged(flagged: int, edge: float) -> None:
    """An extreme count leaves the extreme rate possible."""
    rate = FalseAlarmRate()
    rate.add(flagged, 50)
    assert edge in rate.interval


def test_it_tells_of_the_present() -> None:
    """After a block it begins anew, and tells of the one before until there is enough."""
    rate = FalseAlarmRate()
    rate.add(10, BLOCK)
    assert rate.estimate == 0.01
    rate.add(5, 100)
    assert rate.estimate == 0.01
    rate.add(20, 400)
    assert rate.estimate == 0.05


def test_more_flagged_than_reviewed_is_refused() -> None:
    """Counts that cannot be are an error."""
    with pytest.raises(UsageError, match="expected at most as many"):
        FalseAlarmRate().add(3, 2)
    with pytest.raises(UsageError, match="expected at most as many"):
        FalseAlarmRate(before=(3, 2))
    with pytest.raises(UsageError, match="between 0 and 1"):
        FalseAlarmRate(error=0.0)
