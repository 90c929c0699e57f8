"""``ce-detect sign``: a signature beside an artifact or a graph; needs no torch."""

from __future__ import annotations

from pathlib import Path

import click

from ce_detect.cli import _options as options
from ce_detect.cli._output import print_json, print_pairs


@click.command("sign")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=options.FILE)
@click.option("--key", type=options.FILE, required=True, help="PEM file of the private key, on an elliptic curve.")
@click.option("--password", envvar="CE_DETECT_KEY_PASSWORD", help="Of the key; better in CE_DETECT_KEY_PASSWORD.")
@options.every_command(seed=0)
def command(files: tuple[Path, ...], key: Path, password: str | None, as_json: bool, seed: int) -> None:
    """Sign an artifact or an exported graph.

    The signature of FILE is FILE.sig, in the format of OpenSSF Model Signing. Keep both together. serve, scan and the
    others take --trusted-key with the public key, and then no file that it did not sign.
    """
    from ce_detect.artifacts import signing

    made = {str(path): str(signing.sign(path, key, password)) for path in files}
    if as_json:
        print_json({"signatures": made})
        return
    print_pairs("Signed", made)
