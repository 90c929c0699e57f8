"""The README: its figures are those of the results that are kept, and the programs and files that it names exist."""

from __future__ import annotations

import importlib.util
import re

from benchmarks import tables

README = (tables.ROOT / "README.md").read_text()


def test_tables_say_what_the_results_say() -> None:
    """After a benchmark has run again, ``python -m benchmarks.tables`` brings the documents up to date."""
    for path in tables.documents():
        assert tables.filled(path.read_text()) == path.read_text()
    assert tables.places() == tables.TABLES.keys()


def test_programs_and_results_that_are_named_exist() -> None:
    """A command can be copied, and a picture is shown."""
    programs = re.findall(r"python -m (benchmarks[\w.]+)", README)
    assert len(programs) > 10
    assert [name for name in programs if importlib.util.find_spec(name) is None] == []
    files = re.findall(r"benchmarks/[\w./*-]+", README)
    assert [name for name in files if not any(tables.ROOT.glob(name.rstrip("/")))] == []
