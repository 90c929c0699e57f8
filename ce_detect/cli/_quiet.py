"""What dependencies say stays out of the terminal; what ce-detect warns of goes to stderr."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click


class _WarningLines(logging.Handler):
    """One line a record, to whatever ``sys.stderr`` is by then: a progress bar replaces it while it is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{record.levelname.lower()}: {record.getMessage()}", err=True)


@contextmanager
def quiet_dependencies() -> Iterator[None]:
    """Silence Python warnings, also of worker processes, and the loggers of others; ``python -W`` still wins."""
    ours, root = logging.getLogger("ce_detect"), logging.getLogger()
    lines, nothing = _WarningLines(logging.WARNING), logging.NullHandler()
    ours.addHandler(lines)
    root.addHandler(nothing)  # else logging prints the warnings of every library by itself
    inherited = os.environ.get("PYTHONWARNINGS")
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
                os.environ["PYTHONWARNINGS"] = "ignore"
            yield
    finally:
        ours.removeHandler(lines)
        root.removeHandler(nothing)
        _restore("PYTHONWARNINGS", inherited)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
