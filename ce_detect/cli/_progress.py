"""Progress with the time left: a bar on a terminal, now and then a line elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # help needs neither rich nor NumPy, which take long to import
    from rich.progress import Progress as RichProgress

    from ce_detect.core.types import Progress

LINE_EVERY = 30.0
"""Seconds between two lines where stderr is not a terminal."""


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Yield a callback for the library's ``progress``."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
        TextColumn("elapsed"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with RichProgress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=600) as progress:
        yield Bar(progress)


class Bar:
    """Draws the work on a terminal."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)
        self._phase: tuple[float, float] = (0.0, 0.0)

    def __call__(self, description: str, done: float, total: float) -> None:
        """Draw the new state; see `ce_detect.core.types.Progress`."""
        before, total_before = self._phase
        self._phase = (done, total)
        if done >= total:  # what follows has no known length
            self._draw_anew("working", 0, None)
        elif total != total_before or done < before:  # finished work from the cache says nothing of the speed
            self._draw_anew(description, done, total)
        else:
            self._progress.update(self._task, completed=done, description=description)

    def _draw_anew(self, description: str, done: float, total: float | None) -> None:
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(description, total=total, completed=int(done))


class Lines:
    """Prints a line now and then.

    Args:
        clock: seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._printed = clock()
        self._start = (0.0, 0.0, 0.0)

    def __call__(self, description: str, done: float, total: float) -> None:
        """Print the state where the last line is old enough; see `ce_detect.core.types.Progress`."""
        now = self._clock()
        _, done_before, total_before = self._start
        if total != total_before or done < done_before:
            self._start = (now, done, total)
        if now - self._printed < LINE_EVERY:
            return
        self._printed = now
        click.echo(f"{description}: {done / total:.0%} done{self._left(now, done, total)}", err=True)

    def _left(self, now: float, done: float, total: float) -> str:
        began, done_then, _ = self._start
        if done <= done_then:
            return ""
        return f", about {in_words((now - began) * (total - done) / (done - done_then))} left"


def in_words(seconds: float) -> str:
    """Return a time as ``"40 s"``, ``"3 min"`` or ``"2.5 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
