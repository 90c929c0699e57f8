"""``ce-detect verify-signature``: whether a key signed an artifact or a graph; needs no torch."""

from __future__ import annotations

from pathlib import Path

import click

from ce_detect.cli import _options as options
from ce_detect.cli._output import print_json, print_pairs
from ce_detect.core.errors import ArtifactError


@click.command("verify-signature")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=options.FILE)
@click.option("--trusted-key", type=options.FILE, required=True, help="PEM file of the public key.")
@options.every_command(seed=0)
@click.pass_context
def command(context: click.Context, /, files: tuple[Path, ...], trusted_key: Path, as_json: bool, seed: int) -> None:
    """Check who signed an artifact or an exported graph.

    The signature of FILE is read from FILE.sig. Exits with 1 where one of the files is not signed by that key.
    """
    found = {str(path): _problem(path, trusted_key) for path in files}
    if as_json:
        print_json({"signed": {name: problem is None for name, problem in found.items()}, "problems": found})
    else:
        print_pairs(f"Signed by {trusted_key}", {name: problem or "yes" for name, problem in found.items()})
    context.exit(1 if any(found.values()) else 0)


def _problem(path: Path, key: Path) -> str | None:
    """Why a file is not signed by a key; None where it is."""
    from ce_detect.artifacts import trust

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        trust.check(content, path, trusted_key=key)
    except ArtifactError as error:
        return str(error)
    return None
