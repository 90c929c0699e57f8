"""The command line, run in this process or in one where packages are absent, and what it calibrated."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ce_detect import cli

RECIPE = """
head = "logistic"
[splits]
fit = 0.5
select = 0.15
calibrate = 0.25
test = 0.1
[[attack]]
kind = "fgsm"
[[intervention]]
kind = "Flip"
[[intervention]]
kind = "Shift"
dx = 1
dy = 0
"""
"""Of a calibration that takes seconds."""


@dataclass(frozen=True)
class Called:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON on stdout; fails where anything else is there."""
        return json.loads(self.out)


def call(*arguments: object) -> Called:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([str(argument) for argument in arguments])
    return Called(code, out.getvalue(), err.getvalue())


def call_without(modules: tuple[str, ...], *arguments: object) -> Called:
    """Run a command line in a process where some packages cannot be imported."""
    source = f"import sys; sys.modules.update(dict.fromkeys({modules})); from ce_detect.cli import main; main()"
    command = [sys.executable, "-c", source, *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Called(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Calibrated:
    """An artifact that the command line made, with what it printed."""

    folder: Path
    guard: Path
    printed: Any


def evaluate(calibrated: Calibrated, *more: object) -> Called:
    """Evaluate the artifact on its own images: enough to see what is printed."""
    cache = ("--cache", calibrated.folder / "cache")
    return call("evaluate", calibrated.guard, "--model", "demo", "--data", "demo", "--limit", 150, *cache, *more)
