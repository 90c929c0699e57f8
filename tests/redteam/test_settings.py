"""What the red team may do."""

from __future__ import annotations

import pytest

from ce_detect.core.errors import CalibrationError, UsageError
from ce_detect.redteam.settings import RESOLUTION, Plan, fraction


def test_levels_are_no_further_apart_than_they_claim() -> None:
    """Levels go from the smallest to the largest bound in equal ratios."""
    levels = Plan().levels
    assert levels[0] == pytest.approx(1 / 65280)
    assert levels[-1] == pytest.approx(16 / 255)
    assert (levels[1:] / levels[:-1]).max() <= RESOLUTION


@pytest.mark.parametrize(("least", "most"), [(0.1, 0.1), (0.0, 0.1), (0.1, 1.5)])
def test_senseless_bounds_are_refused(least: float, most: float) -> None:
    """A plan needs a smaller and a larger bound within the pixel range."""
    with pytest.raises(UsageError, match="pixel range"):
        Plan(least=least, most=most)


def test_fractions() -> None:
    """Lengths are read as in recipes."""
    assert fraction("8/255") == pytest.approx(8 / 255)
    with pytest.raises(UsageError, match="positive"):
        fraction("-1/255")


def test_treatments_are_read_by_name() -> None:
    """A kind, and a severity where one is named."""
    found = Plan(then=("jpeg 2", "shrink")).treatments
    assert [(one.kind, one.severity) for one in found] == [("jpeg", 2), ("shrink", None)]


def test_treatments_that_no_gradient_goes_through_are_refused() -> None:
    """Where pixels move, an attack would follow the wrong ones, and look weak for no reason."""
    with pytest.raises(UsageError, match="moves pixels"):
        Plan(then=("flip",))
    with pytest.raises(UsageError, match="moves pixels"):
        Plan(then=("screen 1",))
    with pytest.raises(UsageError, match="without a bound"):
        Plan(then=("jpeg 2",), within=())
    with pytest.raises(CalibrationError, match="no corruption 'jpg'"):
        Plan(then=("jpg",))
