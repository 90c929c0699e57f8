"""The list of commands, each loaded when it is invoked or its own help is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from ce_detect.cli._config import name_variables

COMMANDS = {
    "demo": "Show the main job on the model and images that come with ce-detect.",
    "doctor": "Say what is installed, what is missing and where things are kept.",
    "assess": "Say how easily a model is fooled, and what a gate would do for it.",
    "init": "Write a commented configuration for calibrate.",
    "calibrate": "Make a detector for a model from clean images.",
    "evaluate": "Measure a detector on images that its calibration did not see.",
    "explain": "Say why inputs were judged as they were.",
    "counterfactual": "Train what shows images as another class, and show images so.",
    "redteam": "Attack a detector and its classifier together, and write a report card.",
    "export": "Write classifier and detector as one ONNX graph.",
    "verify": "Compare an exported graph with PyTorch.",
    "scan": "Judge every image of a folder or file with an exported gate.",
    "serve": "Serve an exported detector over HTTP: Open Inference Protocol v2, metrics at /metrics.",
    "console": "Open the pages where people decide about flagged inputs.",
    "recalibrate": "Move the threshold by reviewed clean inputs, with the promise of before.",
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
        if not isinstance(command, click.Command):
            return None
        name_variables(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing any."""
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

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

    Each flag can also stand in the TOML file of --config, or in a variable such as CE_DETECT_CALIBRATE_FPR. The command
    line wins over the variable, the variable over the file.
    """
