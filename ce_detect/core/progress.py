"""Progress with the time left, on stderr: a bar on a terminal, one line in a notebook, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # help needs neither rich nor NumPy, which take long to import
    from rich.progress import Progress as RichProgress

    from ce_detect.core.types import Progress

FIRST_AFTER = 20.0
"""Seconds after which the first line is printed: short work prints none."""

LINE_EVERY = 60.0
"""Seconds between two lines after that."""

LEAST_DONE = 0.02
"""Share of the work that must be done before a line says how much time is left: of less it would be a guess."""

NOTEBOOK_EVERY = 1.0
"""Seconds between two states of the one line in a notebook."""


def quiet(description: str, done: float, total: float) -> None:
    """Show nothing."""


def shares(progress: Progress, what: str, start: float = 0.0, size: float = 1.0) -> Callable[[float], None]:
    """Return what tells a progress that a share of some work is done, which is such a part of the whole."""
    return lambda share: progress(what, start + share * size, 1.0)


@contextmanager
def reported(asked: Progress | bool | None = None) -> Iterator[Progress]:
    """Yield a callback for progress.

    Args:
        asked: the callback itself; False for one that shows nothing; True or None for one that shows it on stderr.
    """
    if asked is False:
        yield quiet
    elif asked is not None and asked is not True:
        yield asked
    elif sys.stderr.isatty():
        with _on_terminal() as bar:
            yield bar
    elif _in_notebook():
        lines = Lines(first=0.0, every=NOTEBOOK_EVERY, rewritten=True)
        yield lines
        lines.wipe()
    else:
        yield Lines()


def _in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, whose output is a page."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def _on_terminal() -> Iterator[Bar]:
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
        first: seconds until the first line.
        every: seconds between two lines.
        rewritten: whether each line is written over the one before.
        clock: seconds since some moment.
    """

    def __init__(
        self,
        *,
        first: float = FIRST_AFTER,
        every: float = LINE_EVERY,
        rewritten: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every, self._rewritten, self._clock = every, rewritten, clock
        self._next = clock() + first
        self._phase = (0.0, 0.0, 0.0)
        self._width = 0

    def __call__(self, description: str, done: float, total: float) -> None:
        """Print the state where the last line is old enough; see `ce_detect.core.types.Progress`."""
        now = self._clock()
        _, done_before, total_before = self._phase
        if total != total_before or done < done_before:
            self._phase = (now, done, total)
        if now >= self._next:
            self._next = now + self._every
            self._print(f"{description}: {done / total:.0%} done{self._left(now, done, total)}")

    def wipe(self) -> None:
        """Leave no line behind where lines are rewritten."""
        if self._rewritten and self._width:
            self._print("")

    def _print(self, line: str) -> None:
        start, end = ("\r", "") if self._rewritten else ("", "\n")
        print(start + line.ljust(self._width if self._rewritten else 0), end=end, file=sys.stderr, flush=True)
        self._width = len(line)

    def _left(self, now: float, done: float, total: float) -> str:
        began, done_then, _ = self._phase
        if done >= total or done - done_then < LEAST_DONE * (total - done_then):
            return ""
        return f", about {in_words((now - began) * (total - done) / (done - done_then))} left"


def in_words(seconds: float) -> str:
    """Return a time as ``"40 s"``, ``"3 min"`` or ``"2.5 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
