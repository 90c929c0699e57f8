"""What a manifest says of features with tensors of their own: sizes that no memory holds are refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.manifests import manifest, plain

from ce_detect.artifacts.features import FakenessPart
from ce_detect.core.errors import ArtifactError

FAKENESS: dict[str, Any] = {"classes": 2, "width": 4, "depth": 1, "own": False}


def test_fakeness_is_read_and_written() -> None:
    """And a manifest without it says nothing of it."""
    made = manifest(signature={"fakeness": FAKENESS})
    assert made.signature.fakeness == FakenessPart(**FAKENESS)
    assert made.plain()["signature"]["fakeness"] == FAKENESS
    assert "fakeness" not in manifest().plain()["signature"]


@pytest.mark.parametrize("wrong", [{"width": 10**6}, {"depth": 0}, {"depth": 40}, {"classes": 0}, {"own": "yes"}])
def test_sizes_that_no_memory_holds_are_refused(wrong: dict[str, Any]) -> None:
    """Before any network is made."""
    with pytest.raises(ArtifactError):
        manifest(signature={"fakeness": {**FAKENESS, **wrong}})


def test_what_compares_nothing_is_refused() -> None:
    """One site has no other to follow from."""
    with pytest.raises(ArtifactError, match="two at least"):
        manifest(signature={"recovery": {"sites": ["a"], "widths": [8]}})
    assert plain()["signature"]["recovery"]["widths"] == [8, 16]
