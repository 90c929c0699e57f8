"""Every table of the docs, from the results of the rooms.

    python -m benchmarks.tables            # writes each table between its markers in README.md and docs/
    python -m benchmarks.tables --check    # exits with 1 where one is not what the results say

A room describes its tables in ``table.py``: ``TABLES`` names functions that return rows, the head first. The table
``NAME`` stands between ``<!-- table: NAME -->`` and ``<!-- end -->``, in one document or in several. Below it stands
what `benchmarks.provenance` knows of it: the day and the command. The same of a picture stands between
``<!-- drawn: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import overview, provenance
from benchmarks.adaptive import table as adaptive
from benchmarks.campaigns import table as campaigns
from benchmarks.claim import table as claim
from benchmarks.cost import table as cost
from benchmarks.counterfactual import table as counterfactual
from benchmarks.detection import table as detection
from benchmarks.explain import table as explain
from benchmarks.natural import table as natural
from benchmarks.peers import table as peers
from benchmarks.pretrained import table as pretrained
from benchmarks.program import markdown, parser
from benchmarks.queries import table as queries
from benchmarks.serving import table as serving
from benchmarks.zoo import table as zoo

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- table: (\S+) -->\n)(?:.*?\n)??(<!-- end -->)", re.DOTALL)
DRAWN = re.compile(r"(<!-- drawn: (\S+) -->\n)(?:.*?\n)??(<!-- end -->)", re.DOTALL)

TABLES: dict[str, Callable[[], list[list[str]]]] = {
    name: rows
    for room in (
        overview,
        detection,
        claim,
        natural,
        serving,
        cost,
        peers,
        adaptive,
        zoo,
        pretrained,
        explain,
        campaigns,
        queries,
        counterfactual,
    )
    for name, rows in room.TABLES.items()
}
"""Every table by name."""


def documents() -> list[Path]:
    """Where tables stand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def filled(text: str) -> str:
    """A document with each of its tables anew."""

    def anew(place: re.Match[str]) -> str:
        if place[2] not in TABLES:
            raise SystemExit(f"there is no table {place[2]!r}; there are {', '.join(TABLES)}")
        caption = provenance.caption(provenance.SOURCES[place[2]])
        return f"{place[1]}{markdown(TABLES[place[2]]())}\n\n{caption}\n{place[3]}"

    def below(place: re.Match[str]) -> str:
        return place[1] + provenance.caption(provenance.PICTURES[place[2]]) + "\n" + place[3]

    return DRAWN.sub(below, PLACE.sub(anew, text))


def places() -> set[str]:
    """Names of the tables that have a place somewhere."""
    return {place[2] for path in documents() for place in PLACE.finditer(path.read_text())}


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--check", action="store_true", help="write nothing")
    options = program.parse_args()
    if lost := TABLES.keys() - places():
        raise SystemExit(f"no document has a place for the tables {', '.join(sorted(lost))}")
    if lost := TABLES.keys() - provenance.SOURCES.keys():
        raise SystemExit(f"benchmarks/provenance.py says nothing of the tables {', '.join(sorted(lost))}")
    if not options.check:
        provenance.keep(provenance.record())
    for path in documents():
        before = path.read_text()
        after = filled(before)
        if options.check and after != before:
            sys.exit(f"{path.relative_to(ROOT)} is not what the results say; run python -m benchmarks.tables")
        if after != before:
            path.write_text(after)


if __name__ == "__main__":
    main()
