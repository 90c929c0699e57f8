"""A gate and images to scan, in parts of a few rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.fused import images, write_graph
from support.scans import COUNT, ROWS

from ce_detect.runtime import Gate
from ce_detect.scan import checkpoints


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few rows, so that a few images make several, and row groups of two parts."""
    monkeypatch.setattr(checkpoints, "ROWS", ROWS)
    monkeypatch.setattr(checkpoints, "PARTS", 2)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate in a file of its own."""
    return Gate(write_graph(tmp_path))


@pytest.fixture
def array(tmp_path: Path) -> Path:
    """Floats in a file."""
    np.savez(tmp_path / "x.npz", x=images(COUNT))
    return tmp_path / "x.npz"
