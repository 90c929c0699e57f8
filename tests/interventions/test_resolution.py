"""How small a picture or a feature map becomes, and of what."""

from __future__ import annotations

import pytest
import torch
from support.interventions import (
    pixels,
)

from ce_detect.interventions import from_spec


@pytest.mark.parametrize(
    ("spec", "sides"),
    [
        ({"kind": "Downscale", "scale": 0.5}, (6, 6)),  # round(6.5) is 6, round(5.5) is 6
        ({"kind": "Downscale", "scale": 0.75}, (10, 8)),
        ({"kind": "Downscale", "scale": 0.01}, (1, 1)),
        ({"kind": "Downscale", "scale": 0.5, "restore": True}, (13, 11)),
        ({"kind": "Flip", "scale": 0.75}, (10, 8)),
        ({"kind": "Pool", "size": 2}, (6, 5)),
        ({"kind": "Pool", "size": 3, "mode": "max"}, (4, 3)),
    ],
)
def test_sizes_that_come_out(spec: dict[str, object], sides: tuple[int, int]) -> None:
    """Height and width are scaled, rounded and never zero."""
    assert from_spec(spec)(pixels()).shape == (7, 3, *sides)


def test_pool_takes_mean_or_maximum() -> None:
    """Each block gives its mean, or its largest value."""
    h = torch.arange(16.0).view(1, 1, 4, 4)
    assert from_spec({"kind": "Pool"})(h).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert from_spec({"kind": "Pool", "mode": "max"})(h).flatten().tolist() == [5, 7, 13, 15]
