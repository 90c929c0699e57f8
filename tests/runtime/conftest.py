"""A fused graph and the gate that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fused import write_graph

from ce_detect.runtime import Gate


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fused graph of floats."""
    return write_graph(tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def gate(path: Path) -> Gate:
    """A gate on the CPU."""
    return Gate(path)
