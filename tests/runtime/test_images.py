"""Image files as inputs of a gate, of its size or of any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import fused
from support.pictures import picture
from support.scans import png

from ce_detect import Resizing
from ce_detect.core.errors import InputError
from ce_detect.data.resizing import resized, waves
from ce_detect.runtime import Gate

RESIZING = Resizing((6, 7), fused.SHAPE[1:])


def gate(folder: Path, *, uint8: bool) -> Gate:
    """A gate that says how files come to its size."""
    return Gate(fused.write_graph(folder, uint8=uint8, said=fused.metadata(fused.resized(RESIZING))))


@pytest.mark.parametrize("uint8", [False, True])
def test_files_of_any_size_are_judged_as_their_resized_pixels(uint8: bool, tmp_path: Path) -> None:
    """Paths or their content, grey or in colour, on either kind of graph."""
    judge, (_, height, width) = gate(tmp_path, uint8=uint8), fused.SHAPE
    picture(tmp_path / "one.png", waves(40, 31))
    found = judge(judge.read([tmp_path / "one.png", png(waves(9, 12)[:, :, 0])]))
    first = resized(waves(40, 31), RESIZING, "one")
    second = resized(waves(9, 12, 1), RESIZING, "two")
    assert first.shape == (height, width, 3)
    np.testing.assert_allclose(found.score, [first.mean() / 255, second.mean() / 255], rtol=1e-5)


def test_what_is_no_input_is_told(tmp_path: Path) -> None:
    """Nothing, no image, an image too large, and another size where none is known."""
    judge = gate(tmp_path, uint8=False)
    with pytest.raises(InputError, match="expected at least one"):
        judge.read([])
    with pytest.raises(InputError, match="file 0 cannot be read as an image"):
        judge.read([b"no image"])
    with pytest.raises(InputError, match="file 0 is 30x20, more than 500 pixels; send it smaller"):
        judge.read([png(waves(20, 30))], most_pixels=500)
    plain = Gate(fused.write_graph(tmp_path))
    with pytest.raises(InputError, match="convert it, or calibrate with --resize and --crop"):
        plain.read([png(waves(20, 30))])
