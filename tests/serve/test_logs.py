"""Logs as JSON lines."""

from __future__ import annotations

import json
import logging

import pytest

from ce_detect.serve.logs import Seldom, json_lines


def test_logs_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A record is an object on one line, with its exception."""
    logger = logging.getLogger("ce_detect.serve")
    with json_lines():
        logger.warning("pixels of %s\n", 0)
        logger.error("failed", exc_info=ValueError("why"))
        logger.info("ready", extra={"artifact": {"threshold": "1"}})
    logger.warning("elsewhere")
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [(line["level"], line["message"]) for line in told[:3]] == [
        ("warning", "pixels of 0\n"), ("error", "failed"), ("info", "ready"),
    ]  # fmt: skip
    assert "ValueError: why" in told[1]["exception"]
    assert told[2]["artifact"] == {"threshold": "1"}


def test_a_line_has_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """What uvicorn adds for a terminal is left out; the fields come in one order."""
    with json_lines():
        logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[1mstarted", "address": "a"})
    assert list(json.loads(capsys.readouterr().err)) == ["time", "level", "logger", "message", "address"]


def test_a_flood_of_warnings_is_one_line_a_second() -> None:
    """Warnings from one place are thinned out; those from another, and what is no warning, are not."""

    def through(when: float, lineno: int = 1, levelno: int = logging.WARNING) -> bool:
        now[0] = when
        return seldom.filter(logging.makeLogRecord({"lineno": lineno, "levelno": levelno}))

    now = [0.0]
    seldom = Seldom(lambda: now[0])
    assert [through(when) for when in (10.0, 10.2, 10.9, 11.1, 11.2)] == [True, False, False, True, False]
    assert through(11.3, lineno=2)
    assert [through(11.3, levelno=logging.INFO) for _ in range(2)] == [True, True]
