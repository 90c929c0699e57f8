"""The command line: one command a file, each thin: parse, call, print.

Exit codes: 0 done, 1 the check failed, 2 usage or bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from ce_detect.cli._group import program
from ce_detect.cli._quiet import quiet_dependencies
from ce_detect.core.errors import CeDetectError
from ce_detect.core.extras import missing

__all__ = ["main", "run"]


def main() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: what follows ``ce-detect``, by default that of this process.

    Returns:
        The exit code.
    """
    try:
        with quiet_dependencies():
            code = program.main(arguments, prog_name="ce-detect", standalone_mode=False)
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _refused(_with_help(error))
    except CeDetectError as error:
        return _refused(str(error))
    except ModuleNotFoundError as error:
        absent = missing(error, "This command")
        if absent is None:
            raise
        return _refused(str(absent))
    except click.Abort:
        click.echo("interrupted: finished work is kept in the cache; run the same command again to go on", err=True)
        return 130
    return code if isinstance(code, int) else 0


def _refused(message: str) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return 2


def _with_help(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = "" if context is None else f" (see {context.command_path} --help)"
    return f"{error.format_message().rstrip('.')}{hint}"
