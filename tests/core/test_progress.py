"""Progress: lines, a bar, and times in words; and who is shown what."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from ce_detect.core.progress import FIRST_AFTER, LINE_EVERY, Bar, Lines, in_words, quiet, reported, shares


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a first line comes soon, then one a minute, with the time left at the speed so far."""
    now = [0.0]
    lines = Lines(clock=lambda: now[0])
    for second in range(0, 100, 10):
        now[0] = float(second)
        lines("attack pgd", 10.0 + second, 110.0)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0] == "attack pgd: 27% done, about 80 s left"
    assert len(told.err.splitlines()) == 1 + (90 - FIRST_AFTER) // LINE_EVERY


def test_hardly_begun_work_has_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """From a thousandth of it nothing follows: a first piece that took long would make days of minutes."""
    now = [0.0]
    told = Lines(clock=lambda: now[0])
    told("fit", 0, 1000)
    for now[0], done in ((130.0, 1), (200.0, 500)):
        told("fit", done, 1000)
    assert capsys.readouterr().err.splitlines() == ["fit: 0% done", "fit: 50% done, about 3 min left"]


def test_what_is_done_has_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of a phase says nothing of what follows."""
    lines = Lines(first=0.0)
    lines("attack pgd", 7, 7)
    assert capsys.readouterr().err == "attack pgd: 100% done\n"


def test_bar_starts_again_with_every_phase() -> None:
    """Work that the cache had already done does not count as speed."""
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as progress:
        bar = Bar(progress)
        bar("attack fgsm", 90, 100)
        assert progress.tasks[0].completed == 90
        assert progress.tasks[0].speed is None
        bar("attack fgsm", 100, 100)
        assert progress.tasks[0].total is None
        bar("attack pgd", 1, 70)
        assert (progress.tasks[0].description, progress.tasks[0].total) == ("attack pgd", 70)


def test_a_callback_of_the_user_is_taken_and_false_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Only where nothing is asked for is anything chosen."""
    with reported(print) as progress:
        assert progress is print
    with reported(False) as progress:
        assert progress is quiet
        progress("attack pgd", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_has_one_line_that_is_wiped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page keeps what is printed, so the line is written over, and taken away at the end."""
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with reported() as progress:
        progress("attack pgd", 1, 4)
    assert capsys.readouterr().err == "\rattack pgd: 25% done\r" + " " * len("attack pgd: 25% done")


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn on stderr."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    with reported(True) as progress:
        assert isinstance(progress, Bar)
        progress("attack pgd", 1, 4)
    assert "attack pgd" in stream.getvalue()


def test_elsewhere_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A test or a script that calibrates in seconds stays silent."""
    with reported(None) as progress:
        assert isinstance(progress, Lines)
        progress("attack pgd", 1, 4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (170, "3 min"), (9000, "2.5 h")])
def test_time_in_words(seconds: float, words: str) -> None:
    """A time is rounded to what helps."""
    assert in_words(seconds) == words


def test_a_share_of_a_part_is_told_as_a_share_of_the_whole() -> None:
    """Where a part of the work begins, and how much of it there is, are known."""
    told: list[tuple[str, float, float]] = []
    tell = shares(lambda *what: told.append(what), "search", 0.5, 0.25)
    tell(0.0)
    tell(1.0)
    assert told == [("search", 0.5, 1.0), ("search", 0.75, 1.0)]
