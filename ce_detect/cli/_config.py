"""What stands in for flags: a TOML file with the flags as keys, and variables of the environment.

A flag on the command line wins over the environment, and the environment over the file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ce_detect.core.errors import UsageError

PREFIX = "CE_DETECT"
"""Of the variables: ``CE_DETECT_CALIBRATE_FPR`` is ``--fpr`` of ``calibrate``."""


def name_variables(command: click.Command, *above: str) -> None:
    """Let the environment stand in for each flag of a command and of those below it, by the names of both."""
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        name_variables(below, *above, command.name or "")
    for parameter in command.params:
        long = [flag for flag in parameter.opts if flag.startswith("--")]
        if isinstance(parameter, click.Option) and long:
            words = [PREFIX, *above, command.name or "", long[0].removeprefix("--")]
            parameter.envvar = "_".join(words).replace("-", "_").upper()


def read(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Take the values of a file as defaults: flags and the environment win."""
    if path is not None:
        context.default_map = {**(context.default_map or {}), **_values(context.command, path)}


def _values(command: click.Command, path: Path) -> dict[str, Any]:
    """Values by name of the parameter, spelled as on a command line, so that both are checked alike."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"config {path} is not valid TOML: {error}") from error
    names, several = flags(command), {one.name for one in command.params if getattr(one, "multiple", False)}
    values = {}
    for key, value in raw.items():
        name = names.get(key.replace("_", "-"))
        if name is None:
            raise UsageError(f"config {path} has an unknown key {key!r}{_nearest(key, names)}")
        spelled = _spelled(path, key, value)
        values[name] = [spelled] if name in several and isinstance(spelled, str) else spelled
    return values


def flags(command: click.Command) -> dict[str, str]:
    """Name of the parameter by flag, without its dashes."""
    named: dict[str, str] = {}
    for parameter in command.params:
        given = [flag for flag in parameter.opts if flag.startswith("--")] or [parameter.name or ""]
        named |= {flag.removeprefix("--"): parameter.name or "" for flag in given if flag != "--config"}
    return named


def _spelled(path: Path, key: str, value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    if isinstance(value, dict):
        raise UsageError(f"config {path}: {key!r} is a table, expected a value")
    return str(value)


def _nearest(key: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(key.replace("_", "-"), names, 1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return f"{meant} There are: {', '.join(sorted(names))}"
