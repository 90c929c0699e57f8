"""The command line as a whole: help, exit codes, what is refused."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import time

import click
import pytest
from support.command_line import call, call_without

from ce_detect.cli import doctor
from ce_detect.cli._group import COMMANDS

HEAVY = ("torch", "sklearn", "scipy", "art", "numpy", "rich")


def test_help_is_quick_and_light() -> None:
    """The list of commands needs none of the heavy packages and well under a second."""
    source = (
        "import sys; from ce_detect.cli import run; code = run(['--help'])\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules], code)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    print(f"ce-detect --help: {seconds:.2f} s")
    assert done.stdout.rstrip().endswith("heavy: [] 0")
    assert seconds < 1


@pytest.mark.parametrize("name", COMMANDS)
def test_list_of_commands_repeats_their_help(name: str) -> None:
    """The line in the list of commands is the first line of the command's own help."""
    command = importlib.import_module(f"ce_detect.cli.{name.replace('-', '_')}").command
    assert command.name == name
    assert command.help.splitlines()[0] == COMMANDS[name]
    for one in command.commands.values() if isinstance(command, click.Group) else [command]:
        assert {"config", "as_json", "seed"} <= {parameter.name for parameter in one.params}


def test_help_of_a_command() -> None:
    """A command's own help names its flags."""
    done = call("calibrate", "--help")
    assert done.code == 0
    assert "--attack-time" in done.out


def test_no_command_prints_help() -> None:
    """Without a command the help is printed, and the exit code says that nothing was done."""
    done = call()
    assert (done.code, done.out) == (2, "")
    assert "calibrate" in done.err


def test_version() -> None:
    """The version is the package's."""
    import ce_detect

    assert call("--version").out == f"ce-detect {ce_detect.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["calibrate", "--data", "demo"], "--model"),
        (["calibrate", "--model", "demo", "--data", "demo", "--fpr", "1.5"], "--fpr"),
        (["calibrate", "--model", "demo", "--data", "demo", "--budget", "1"], "--budget"),
        (["calibrate", "--model", "demo", "--data", "demo", "--attack-time", "5d"], "'5d' is not a time"),
        (["calibrate", "--model", "demo", "--data", "demo", "--recipe", "nope"], "no recipe 'nope'"),
        (["calibrate", "--model", "demo", "--data", "nope"], "'nope' is no data"),
        (["calibrate", "--model", "nope.onnx", "--data", "demo"], "ONNX"),
        (["calibrate", "--model", "demo", "--data", "demo", "--output", "no/such/place"], "cannot write no/such/place"),
        (["calibrate", "--model", "demo", "--data", "demo", "--limit", "60"], "images in all would do"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden-split", "train"], "--harden-with"),
        (["calibrate", "--model", "demo", "--data", "demo", "--crop", "8", "--interpolation", "box"], "--resize"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden-with", "demo"], "harden = 0"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden", "1", "--cascade"], "exclude each other"),
        (["calibrate", "--model", "demo", "--data", "demo", "--harden-with", "nope"], "'nope' is no data"),
        (["evaluate", "nope", "--model", "demo", "--data", "demo"], "no artifact at nope"),
        (["evaluate", "nope", "--model", "demo", "--data", "demo", "--attack", "nope"], "no attack 'nope'"),
        (["evaluate", "a", "--model", "demo", "--data", "demo", "--attack", "pgd", "--recipe", "quick"], "one of them"),
        (["inspect"], "GUARD"),
        (["inspect", "pyproject.toml"], "not a whole safetensors file"),
        (["nope"], "nope"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: list[str], told: str) -> None:
    """What makes no sense gives exit code 2 and one line that names it, before any long work."""
    done = call(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert told in done.err


def test_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C gives 130 and says that finished work is kept."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examination", interrupted)
    done = call("doctor")
    assert done.code == 130
    assert "kept in the cache" in done.err


def test_absent_package_is_one_line() -> None:
    """A command whose packages are absent names the extra instead of a traceback."""
    done = call_without(("torch", "sklearn", "scipy", "art"), "calibrate", "--model", "demo", "--data", "demo")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "pip install 'ce-detect[calibrate]'" in done.err
