"""The README: its figures are those of the results that are kept."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import tables


def test_tables_say_what_the_results_say() -> None:
    """After a benchmark has run again, ``benchmarks/tables.py`` brings the README up to date."""
    readme = (tables.ROOT / "README.md").read_text()
    assert tables.written(readme) == readme
