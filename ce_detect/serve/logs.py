"""Logs as JSON lines on stderr."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

_LOGGERS = ("ce_detect", "uvicorn.error")

_FIELDS = {"created": "time", "levelname": "level", "name": "logger", "message": "message"}
"""Fields of every line, by the attribute of the record that each shows."""

_COLOURED = "color_message"
"""What uvicorn adds to a record for a terminal: the message once more, with colours."""


class JsonLines(MsgspecFormatter):
    """One object a record: time, level, logger, message, and what the record carries besides."""

    def __init__(self) -> None:
        super().__init__(
            " ".join(f"%({name})s" for name in _FIELDS),
            rename_fields={**_FIELDS, "exc_info": "exception"},
            reserved_attrs=[*RESERVED_ATTRS, _COLOURED],
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a line; times are seconds since 1970."""
        return {**log_data, "time": round(log_data["time"], 6), "level": log_data["level"].lower()}


class Seldom(logging.Filter):
    """One warning a second from one place in the code, or clients could fill a disk; the metrics count everything.

    Args:
        clock: in seconds; not the one on the wall, which may jump back and would keep warnings away until then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is let through."""
        place, now = (record.pathname, record.lineno), self._clock()
        if record.levelno >= logging.WARNING:
            if now - self._last.get(place, -math.inf) < 1:
                return False
            self._last[place] = now
        return True


@contextmanager
def json_lines(level: int = logging.INFO) -> Iterator[None]:
    """Let what this package and its HTTP server log go to stderr as JSON lines, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(Seldom())
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, (handlers, old_level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(old_level)
