"""Settings of a training: what makes no sense is refused."""

from __future__ import annotations

import pytest

from ce_detect.core.errors import CalibrationError
from ce_detect.counterfactual import TrainingSettings


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("steps", 0, "a whole number of at least 1"),
        ("batch", 1, "a whole number of at least 2"),
        ("depth", 9, "a whole number from 1 to 8"),
        ("width", 2.5, "a whole number"),
        ("rate", 0.0, "a number from"),
        ("cycle", -1, "a number of at least 0"),
        ("sparsity", float("nan"), "a number of at least 0"),
        ("noise", 2, "a number from 0 to 1"),
        ("decay", 1.0, "a number from 0"),
        ("seed", True, "a whole number"),
        ("mirror", 1, "not True or False"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: object, told: str) -> None:
    """By name, with what was given and what was expected."""
    with pytest.raises(CalibrationError, match=rf"{name} = {value!r} of a training .*{told}"):
        TrainingSettings(**{name: value})  # type: ignore[arg-type]


def test_plain_data_make_them_again() -> None:
    """As an artifact holds them."""
    asked = TrainingSettings(steps=7, mirror=True)
    assert TrainingSettings(**asked.plain()) == asked
