"""What every program does alike: options, quiet libraries, a line of progress, a result on disk."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import environment

EVERY = 10.0
"""Seconds from one line of progress to the next, at least."""

_shown = [0.0]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options of a program that its docstring describes."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def quiet() -> None:
    """Hide what ART warns of, and show log lines from warnings on."""
    warnings.filterwarnings("ignore", module="art")
    logging.basicConfig(level=logging.WARNING)


def progress(what: str, done: float, total: float) -> None:
    """Print a line on stderr, now and then."""
    if time.monotonic() - _shown[0] > EVERY:
        _shown[0] = time.monotonic()
        print(f"{what}: {done / total:.0%}", file=sys.stderr, flush=True)


def read(path: Path) -> Any:
    """Read a result."""
    return json.loads(path.read_text())


def write(path: Path, outcome: Any) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(outcome, indent=1) + "\n")


def resumed(
    path: Path, key: str, settings: dict[str, Any], makers: Mapping[str, Callable[[], dict[str, Any]]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows by name: what the result has with the same settings, and what is made now, written as it comes.

    Args:
        path: of the result.
        key: under which it has the rows.
        settings: that all rows share; rows made with others are dropped.
        makers: what makes each row.
    """
    found = read(path) if path.is_file() else {}
    if found.get("settings") != settings:
        found = {"environment": environment(), "settings": settings, key: {}}
    for name, make in makers.items():
        if name not in found[key]:
            found[key][name] = make()
            write(path, found)
        yield name, found[key][name]


def rows_left(path: Path, asked: Collection[str]) -> list[dict[str, Any]]:
    """Rows of an earlier result whose subjects were not asked for this time."""
    rows = read(path)["rows"] if path.exists() else []
    return [row for row in rows if row["subject"] not in asked]


def markdown(rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; the first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in lines)
