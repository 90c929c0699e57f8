"""A memory that is too small for images."""

from __future__ import annotations

import pytest

from ce_detect.data import spool


@pytest.fixture
def _nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array counts as too large for memory."""
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
