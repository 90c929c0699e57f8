"""Square."""

from __future__ import annotations

import torch
from support.targets import case, gated, reach

from ce_detect.redteam.radii import evades
from ce_detect.redteam.square import square


def test_square_evades_within_eps() -> None:
    """Random search finds something, within the bound, and is right about it."""
    some = case()
    best = square(
        gated(), some.x, some.labels, reach(eps=30 / 255), queries=60, generator=torch.Generator().manual_seed(0)
    )
    assert best.evaded.any()
    assert torch.equal(best.evaded, evades(gated(), some, best.x))
    assert ((best.x - some.x).abs() <= 30 / 255 + 1e-6).all()
