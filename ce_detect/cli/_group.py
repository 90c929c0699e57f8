"""The list of commands, each loaded when it is invoked or its own help is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS = {
    "demo": "Show the main job on the model and images that come with ce-detect.",
    "doctor": "Say what is installed, what is missing and where things are kept.",
    "calibrate": "Make a detector for a model from clean images.",
    "evaluate": "Measure a detector on images that its calibration did not see.",
    "explain": "Say why inputs were judged as they were.",
    "redteam": "Attack a detector and its classifier together, and write a report card.",
    "export": "Write classifier and detector as one ONNX graph.",
    "verify": "Compare an exported graph with PyTorch.",
    "scan": "Judge every image of a folder or file with an exported gate.",
    "serve": "Serve an exported detector over HTTP: Open Inference Protocol v2, metrics at /metrics.",
    "sign": "Sign an artifact or an exported graph.",
    "verify-signature": "Check who signed an artifact or an exported graph.",
    "inspect": "Print what a detector was calibrated for and what it promises.",
}
"""Every command, with the first line of its help: the list of commands needs no import."""


class LazyGroup(click.Group):
    """Commands by name; the module of a command is imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, most useful first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: Any = importlib.import_module(f"ce_detect.cli.{cmd_name.replace('-', '_')}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from ce_detect.core.version import VERSION

        click.echo(f"ce-detect {VERSION}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version."
)
def program() -> None:
    """Detect adversarial examples of image classifiers.

    Exit codes: 0 done, 1 the check failed, 2 usage or bad input.
    """
