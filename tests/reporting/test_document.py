"""What a command found, written to files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support.manifests import manifest

from ce_detect.core.errors import MissingExtraError, UsageError
from ce_detect.reporting.document import Document, check, rounded
from ce_detect.reporting.model_card import model_card

CARD = model_card(manifest(), artifact="guard.safetensors")

FOUND = Document({"value": 0.5, "model_card": CARD}, lambda: "<!doctype html>")


def test_the_ending_says_what_is_written(tmp_path: Path) -> None:
    """A page, data, or a model card."""
    for ending in (".html", ".json", ".md"):
        FOUND.write(tmp_path / f"found{ending}")
    assert (tmp_path / "found.html").read_text() == "<!doctype html>"
    assert json.loads((tmp_path / "found.json").read_text()) == FOUND.data
    assert (tmp_path / "found.md").read_text().startswith("---\nlibrary_name: ce-detect\n")


@pytest.mark.parametrize("name", ["found", "found.txt", "found.HTML"])
def test_another_ending_is_refused(name: str) -> None:
    """With those that there are."""
    with pytest.raises(UsageError, match=r"none of \.html for a page, \.json for data, \.md for a model card"):
        check(Path(name))


@pytest.mark.parametrize(
    ("name", "package"), [("a.html", "jinja2"), ("a.html", "matplotlib"), ("a.md", "jinja2"), ("a.json", None)]
)
def test_an_absent_package_is_named_before_the_work(
    name: str, package: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page and a card need the extra `report`; data needs nothing."""
    for absent in ("jinja2", "matplotlib") if package is None else (package,):
        monkeypatch.setitem(sys.modules, absent, None)
    if package is None:
        check(Path(name))
        return
    with pytest.raises(MissingExtraError, match=rf"{package}.*ce-detect\[report\]"):
        check(Path(name))


def test_figures_have_five_digits() -> None:
    """In dicts, in lists and in tuples; all else stays as it is."""
    found = rounded({"a": (0.123456789, 1), "b": [np.pi, "0.123456789", None, True]})
    assert found == {"a": [0.12346, 1], "b": [3.1416, "0.123456789", None, True]}
