"""What stands in for flags: files, variables of the environment; and the completion of a shell."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.command_line import call

from ce_detect.cli import _config
from ce_detect.cli._group import COMMANDS, program


def commands() -> dict[str, click.Command]:
    """Every command as the program gives it, those below a group by the names of both."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = program.get_command(click.Context(program), name)
        assert command is not None
        below = command.commands if isinstance(command, click.Group) else {}
        found |= {name: command, **{f"{name} {inner}": one for inner, one in below.items()}}
    return found


@pytest.mark.parametrize(
    ("key", "meant"), [("fprr", "fpr"), ("budgets", "budget"), ("harden_wiht", "harden-with"), ("seeds", "seed")]
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, key: str, meant: str) -> None:
    """A misspelt key is refused with the one that was meant."""
    (tmp_path / "config.toml").write_text(f"{key} = 1")
    done = call("calibrate", "--config", tmp_path / "config.toml")
    assert done.code == 2
    assert f"unknown key {key!r}; did you mean {meant!r}?" in done.err


def test_a_key_that_is_like_none_names_them_all(tmp_path: Path) -> None:
    """Nothing is guessed where nothing is near."""
    (tmp_path / "config.toml").write_text("zzz = 1")
    done = call("doctor", "--config", tmp_path / "config.toml")
    assert "did you mean" not in done.err
    assert "There are: attacks, interventions, json, seed" in done.err


@pytest.mark.parametrize("name", commands())
def test_every_flag_is_a_key_and_a_variable(name: str) -> None:
    """No flag is left out, and no two flags of a command share a variable."""
    command = commands()[name]
    keys = _config.flags(command)
    options = [one for one in command.params if isinstance(one, click.Option)]
    variables = [str(one.envvar) for one in options]
    assert len(set(variables)) == len(options)
    for option in options:
        longest = next(flag for flag in option.opts if flag.startswith("--")).removeprefix("--")
        assert longest in keys or longest == "config"
        assert option.envvar == f"CE_DETECT_{name}_{longest}".replace("-", "_").replace(" ", "_").upper()


def test_a_variable_stands_in_for_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a flag without a value, and one that Python knows by another name."""
    monkeypatch.setenv("CE_DETECT_DOCTOR_JSON", "1")
    monkeypatch.setenv("CE_DETECT_DOCTOR_ATTACKS", "true")
    assert call("doctor").data == call("doctor", "--json", "--attacks").data


def test_the_command_line_wins_over_the_variable_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three are checked alike; the nearest to the user counts."""
    (tmp_path / "config.toml").write_text('model = "demo"\ndata = "demo"\nfpr = 7')
    given = ("calibrate", "--config", tmp_path / "config.toml", "--limit", 60)
    assert "'--fpr': 7.0" in call(*given).err
    monkeypatch.setenv("CE_DETECT_CALIBRATE_FPR", "8")
    assert "--fpr" in call(*given).err
    assert "8.0" in call(*given).err
    assert "images in all would do" in call(*given, "--fpr", "0.01").err


def test_the_file_itself_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container needs no command line at all."""
    (tmp_path / "config.toml").write_text("json = true")
    monkeypatch.setenv("CE_DETECT_DOCTOR_CONFIG", str(tmp_path / "config.toml"))
    assert "ce-detect" in call("doctor").data


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ce-detect cal", ["calibrate"]),
        ("ce-detect calibrate --fp", ["--fpr"]),
        ("ce-detect calibrate --guarantee m", ["marginal"]),
        ("ce-detect --ver", ["--version"]),
    ],
)
def test_a_shell_completes_commands_flags_and_choices(words: str, offered: list[str]) -> None:
    """As bash asks for it; the same in zsh and fish."""
    asked = {"_CE_DETECT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    source = "from ce_detect.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", source], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == offered


def test_completion_of_a_command_imports_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell asks at each press of a key, so that must be quick."""

    def refused(*_: object) -> None:
        raise AssertionError("a command was imported")

    monkeypatch.setattr(importlib, "import_module", refused)
    offered = program.shell_complete(click.Context(program), "")
    assert {one.value for one in offered} >= set(COMMANDS)
