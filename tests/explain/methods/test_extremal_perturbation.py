"""Extremal Perturbation: the smooth maximum, and areas."""

from __future__ import annotations

import math

import pytest
import torch
from support.models import tiny_classifier, tiny_images

from ce_detect.explain.methods.extremal_perturbation import (
    REACH,
    ExtremalPerturbation,
    area_target,
    smooth_maximum,
)


def test_the_smooth_maximum_of_one_cell_by_hand() -> None:
    """Nearly its value where it stands, and ``exp(-2 (1 - 1/2)^2)`` of it at the reach."""
    mask = torch.zeros(1, 1, 15, 15)
    mask[0, 0, 7, 7] = 1.0
    smooth = smooth_maximum(mask)[0, 0, REACH:-REACH, REACH:-REACH]
    assert float(smooth[7, 7]) == pytest.approx(1.0, abs=1e-4)
    weight = math.exp(-0.5)
    expected = weight * math.exp(20 * weight) / (math.exp(20 * weight) + 80)
    assert float(smooth[7, 7 + REACH]) == pytest.approx(expected, rel=1e-4)
    assert float(smooth[7, 7 + REACH + 2]) == 0.0


def test_equal_cells_are_drawn_to_the_same_value() -> None:
    """The mean over their ranks, whatever their order is; others to 0 or 1, as a sort says."""
    cells = torch.tensor([[0.5, 1.0, 0.2, 1.0, 0.9, 1.0], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]])
    target = area_target(cells, torch.tensor([[4.0], [4.0]]))
    expected = torch.tensor([[0, 2 / 3, 0, 2 / 3, 0, 2 / 3], [0, 0, 0, 0, 1, 1]])
    torch.testing.assert_close(target, expected)


def test_masks_get_the_areas_that_are_asked_for() -> None:
    """The mean of a mask is about its area once the weight of the area has grown."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 1)
    for area in (0.1, 0.3):
        mask = ExtremalPerturbation(steps=150, areas=(area,)).maps(classifier, x, [0])
        assert float(mask.mean()) == pytest.approx(area * (16 + 2 * REACH) ** 2 / 16**2, abs=0.1)
