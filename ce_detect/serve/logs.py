"""Logs as JSON lines on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

_OURS = ("ce_detect", "uvicorn.error")


class JsonLines(logging.Formatter):
    """One object a record: time, level, logger, message, and what the record carries besides."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line without its end."""
        line = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("artifact", "address", "request"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class Seldom(logging.Filter):
    """One warning a second from one place in the code, or clients could fill a disk; the metrics count everything."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is let through."""
        place = (record.pathname, record.lineno)
        if record.levelno >= logging.WARNING:
            if record.created - self._last.get(place, 0.0) < 1:
                return False
            self._last[place] = record.created
        return True


@contextmanager
def json_lines(level: int = logging.INFO) -> Iterator[None]:
    """Let what this package and its HTTP server log go to stderr as JSON lines, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(Seldom())
    loggers = [logging.getLogger(name) for name in _OURS]
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
