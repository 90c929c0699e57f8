"""Progress: lines, a bar, and times in words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from ce_detect.cli._progress import LINE_EVERY, Bar, Lines, in_words


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a line appears every half minute, with the time left at the speed so far."""
    now = [0.0]
    lines = Lines(clock=lambda: now[0])
    for second in range(0, 100, 10):
        now[0] = float(second)
        lines("attack pgd", 10.0 + second, 110.0)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0] == "attack pgd: 36% done, about 70 s left"
    assert len(told.err.splitlines()) == 99 // LINE_EVERY


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


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (170, "3 min"), (9000, "2.5 h")])
def test_time_in_words(seconds: float, words: str) -> None:
    """A time is rounded to what helps."""
    assert in_words(seconds) == words
