"""Tables for people and JSON for programs, on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # rich takes long to import, and help needs none of it
    from rich.console import Console

WIDTH = 120
"""Characters in a line where stdout is not a terminal."""


def print_json(data: Any) -> None:
    """Print plain data as JSON."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, the first column to the left and the others to the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for position, name in enumerate(header):
        table.add_column(name, justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*row)
    _print(table)


def print_listing(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of words, every column to the left."""
    from rich.table import Table

    table = Table(
        *header, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold"
    )
    for row in rows:
        table.add_row(*row)
    _print(table)


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """Print names and what belongs to them."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    for name, value in pairs.items():
        table.add_row(name, value)
    _print(table)


def _print(renderable: Any) -> None:
    console = _console()
    console.print(renderable)
    console.print()


def _console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)
