"""What is kept of inputs that got past classifier and gate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.calibrated import guard
from support.targets import Mean, attacked, on_the_gate

from ce_detect.redteam.settings import RESOLUTION


def test_what_is_kept_got_through() -> None:
    """The gate itself says so: another decision, a score that passes, and no more changed than is said."""
    report = on_the_gate()
    assert len(report.examples) == 3
    for one in report.examples:
        assert one.radius == report.radii_joint[one.image]
        assert np.abs(one.pixels - one.before).max() <= one.radius * RESOLUTION
        before, after = (guard()(pixels[None]) for pixels in (one.before, one.pixels))
        assert (one.label_before, one.label) == (int(before.label[0]), int(after.label[0]))
        assert one.label != one.label_before
        assert one.score <= report.threshold
        assert [one.score_before, one.score] == pytest.approx([float(before.score[0]), float(after.score[0])], abs=1e-4)


def test_the_first_ones_are_kept_of_those_that_got_through() -> None:
    """As many as were asked for, in the order of the images; none where none got through or none is asked for."""
    report = attacked(Mean(threshold=0.5, wall=0.1), check=False, examples=5)
    through = [image for image, radius in enumerate(report.radii_joint) if radius is not None]
    assert [one.image for one in report.examples] == through[:5]
    assert attacked(Mean(), check=False).examples == ()
    assert attacked(Mean(threshold=0.0, wall=0.9), check=False, examples=5).examples == ()


def test_the_data_are_without_pixels() -> None:
    """Figures alone, as every program reads them."""
    assert "examples" not in on_the_gate().to_dict()
    assert not any(isinstance(value, np.ndarray | torch.Tensor) for value in on_the_gate().to_dict().values())
