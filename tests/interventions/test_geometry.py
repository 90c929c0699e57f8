"""What moves pixels moves them where it says."""

from __future__ import annotations

import pytest
import torch
from support.interventions import (
    pixels,
)

from ce_detect.interventions import from_spec


def test_flip_twice_is_nothing() -> None:
    """Mirroring is its own inverse and moves the first column to the last place."""
    flip, h = from_spec({"kind": "Flip"}), pixels()
    assert torch.equal(flip(h)[..., 0], h[..., -1])
    assert torch.equal(flip(flip(h)), h)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-2, 0), (0, 3), (0, -1), (2, -3), (0, 0), (20, 0)])
def test_shift_moves_right_and_down(dx: int, dy: int) -> None:
    """The pixel at (row, column) comes from (row - dy, column - dx), or from the edge nearest to it."""
    h = pixels()
    rows = (torch.arange(13) - dy).clamp(0, 12)
    columns = (torch.arange(11) - dx).clamp(0, 10)
    out = from_spec({"kind": "Shift", "dx": dx, "dy": dy})(h)
    assert torch.equal(out, h[:, :, rows][..., columns])


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3), (0, 0)])
def test_rotate_by_quarter_turns(degrees: int, turns: int) -> None:
    """Quarter turns are exact on a square, and all go the same way round."""
    h = pixels()[..., :11, :]
    out = from_spec({"kind": "Rotate", "degrees": degrees})(h)
    torch.testing.assert_close(out, h.rot90(turns, dims=(2, 3)), rtol=1e-4, atol=1e-5)


def test_zoom_by_one_is_nothing_and_by_two_shows_the_middle() -> None:
    """The factor enlarges about the centre, and the corners fall away."""
    h = torch.zeros(1, 1, 8, 8)
    h[..., 2:6, 2:6] = 1
    torch.testing.assert_close(from_spec({"kind": "Zoom", "factor": 1.0})(h), h)
    out = from_spec({"kind": "Zoom", "factor": 2.0})(h)
    assert float(out[..., 1:7, 1:7].min()) == pytest.approx(1.0)
    assert float(from_spec({"kind": "Zoom", "factor": 0.5})(h).mean()) < float(h.mean())
