"""README and docs: their figures are those of the results that are kept; programs and files that they name exist."""

from __future__ import annotations

import importlib.util
import re

from benchmarks import tables

DOCS = "\n".join(path.read_text() for path in tables.documents())


def test_tables_say_what_the_results_say() -> None:
    """After a benchmark has run again, ``python -m benchmarks.tables`` brings the documents up to date."""
    for path in tables.documents():
        assert tables.filled(path.read_text()) == path.read_text()
    assert tables.places() == tables.TABLES.keys()


def test_programs_and_results_that_are_named_exist() -> None:
    """A command can be copied, and a picture is shown."""
    programs = re.findall(r"python -m (benchmarks[\w.]+)", DOCS)
    assert len(programs) > 10
    assert [name for name in programs if importlib.util.find_spec(name) is None] == []
    files = re.findall(r"benchmarks/[\w./*-]+", DOCS)
    assert [name for name in files if not any(tables.ROOT.glob(name.rstrip("/")))] == []
    for path in tables.documents():
        links = re.findall(r"\]\(([\w./-]+)\)", path.read_text())
        assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    """A newcomer reads it to the end; what was measured stands in the docs."""
    assert len((tables.ROOT / "README.md").read_bytes()) < 8000
