"""The documentation site: every page has its place, every link its end, and nothing is fetched from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import prose, site

import ce_detect

FETCHED = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//")
"""A script, style or picture from another place."""


def test_every_page_is_in_the_navigation() -> None:
    """Once, and each page that is listed exists."""
    listed = site.navigation()
    assert sorted(listed) == sorted(site.pages())


@pytest.mark.parametrize("page", prose.pages(site.ROOT), ids=lambda page: str(page.relative_to(site.ROOT)))
def test_links_have_an_end(page: Path) -> None:
    """Files and headings that are linked to are there."""
    assert site.broken(page) == []


def test_a_broken_link_is_told(tmp_path: Path) -> None:
    """Of a file, and of a heading; not of an address elsewhere, nor in code."""
    (tmp_path / "two.md").write_text("# A heading, of sorts\n")
    links = (
        "[a](one.md) [b](two.md#a-heading-of-sorts) [c](two.md#none) [d](https://example.org)\n```\n[e](no.md)\n```\n"
    )
    (tmp_path / "page.md").write_text(links)
    assert site.broken(tmp_path / "page.md") == ["one.md", "two.md#none"]


def test_public_names_have_their_place() -> None:
    """Each is on the page of the Python reference, once where it is documented."""
    page = (site.DOCS / "reference" / "python.md").read_text()
    documented = [name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)]
    errors = {name for name in ce_detect.__all__ if name.endswith("Error")}
    assert errors <= set(dir(ce_detect.core.errors)), "the page documents that module as a whole"
    others = set(ce_detect.__all__) - errors
    assert {name for name in others if name not in documented and f"`{name}`" not in page} == set()
    assert [name for name in others if documented.count(name) > 1] == []


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs")
def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    """As `make docs` does: a warning is a failure; no page asks another server for anything."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=site.ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    made = sorted(tmp_path.rglob("*.html"))
    assert len(made) > len(site.pages())
    assert [path.name for path in made if FETCHED.search(path.read_text())] == []
    assert "ce_detect_inputs_total" in (tmp_path / "reference" / "metrics.html").read_text()
    assert "/infer" in (tmp_path / "reference" / "http.html").read_text()


def test_examples_in_docstrings_are_fenced() -> None:
    """Lines of one example together, without what only doctest reads."""
    pytest.importorskip("griffe")
    from docs.programs.docstrings import fenced

    assert fenced("A.\n\n>>> a()  # doctest: +SKIP\n>>> b\n\nC.") == "A.\n\n```pycon\n>>> a()\n>>> b\n```\n\nC."
