"""``ce-detect console``: the pages where people decide; needs no torch, but for effect maps and attacks."""

from __future__ import annotations

import getpass
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ce_detect.cli import _options as options
from ce_detect.core.errors import UsageError
from ce_detect.core.extras import needed_for

if TYPE_CHECKING:  # help needs none of it
    from ce_detect.console.access import Access

logger = logging.getLogger("ce_detect.console")

_HERE = {"127.0.0.1": "127.0.0.1", "::1": "[::1]", "localhost": "localhost"}


@click.command("console")
@click.option("--store", metavar="URL", help="sqlite:///reviews.db, or postgresql+psycopg://user@host/reviews.  "
              "[default: a file beside the quarantine]")  # fmt: skip
@click.option("--quarantine", type=options.FOLDER, help="Folder that ce-detect serve keeps inputs in.")
@click.option("--audit", type=options.FILE, help="Audit log of ce-detect serve: flagged inputs without a file, alarms.")
@click.option("--graph", type=options.FILE, help="Exported gate, for the page to try it.")
@click.option("--guard", type=options.FILE, help="Artifact, for effect maps; with --model, and torch.")
@click.option("--model", metavar="SPEC", help="Its model, as ce-detect explain takes it.")
@click.option("--weights", type=options.FILE, help="State dict of the model.")
@click.option("--clean", metavar="DATA", help="Clean images among which the nearest is shown.")
@click.option(
    "--reviewers", type=options.COUNT, help="How many must agree.  [default: as the store has it, at first 1]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8100, show_default=True, help="0 = any free port.")
@click.option("--token-file", type=options.FILE, help="A line each reviewer: name and token.")
@click.option("--proxy-header", metavar="NAME", help="Header in which a reverse proxy names who is logged in.")
@click.option("--proxy-from", multiple=True, metavar="ADDRESS", help="Where that proxy is.  [default: this machine]")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Name that browsers call the console by.")
@click.option("--https", is_flag=True, help="A proxy in front speaks https: send cookies by https alone.")
@click.option("--tls-certificate", type=options.FILE, help="PEM file of the certificate chain.")
@click.option("--tls-key", type=options.FILE, help="PEM file of its private key.")
@click.option("--sha256", metavar="DIGITS", help="Take the graph with this SHA-256 alone, see sha256sum.")
@click.option("--trusted-key", type=options.FILE, metavar="PEM",
              help="Take a graph and an artifact that this public key signed alone.")  # fmt: skip
@options.every_command(seed=0)
def command(as_json: bool, seed: int, **flags: Any) -> None:
    """Open the pages where people decide about flagged inputs.

    New files of the quarantine come in by themselves. Without --token-file or --proxy-header it is for this machine
    alone.
    """
    _check(flags)
    with needed_for("ce-detect console", extra="console"):
        from ce_detect.console.server import ConsoleServer
        from ce_detect.records.store import Store
    settings = _settings(flags)
    store = Store(flags["store"] or f"sqlite:///{_beside(flags['quarantine'])}", reviewers=flags["reviewers"])
    try:
        with store.answering():
            _check_reviewers(store.reviewers, settings.access)
            server = ConsoleServer(
                settings, store, host=flags["host"], port=flags["port"],
                certificate=flags["tls_certificate"], key=flags["tls_key"],
            )  # fmt: skip
        host, port = server.address
        scheme = "https" if flags["tls_certificate"] else "http"
        click.echo(
            json.dumps({"host": host, "port": port}) if as_json else f"{scheme}://{_HERE.get(host, host)}:{port}"
        )
        server.run()
    finally:
        store.close()


def _check(flags: dict[str, Any]) -> None:
    if flags["store"] is None and flags["quarantine"] is None:
        raise UsageError("nothing to look at: name the --quarantine of ce-detect serve, or a --store")
    for one, other in (("tls_certificate", "tls_key"), ("guard", "model")):
        if (flags[one] is None) != (flags[other] is None):
            names = " and ".join(f"--{name.replace('_', '-')}" for name in (one, other))
            raise UsageError(f"{names} come together")
    if flags["token_file"] is None and flags["proxy_header"] is None and flags["host"] not in _HERE:
        raise UsageError(
            f"--host {flags['host']} would let everybody decide; give --token-file, or the --proxy-header of a proxy"
        )


def _check_reviewers(needed: int, access: Access) -> None:
    if (known := access.reviewers) is not None and known < needed:
        logger.warning(
            "%d reviewers must agree, and this console knows %d: nothing is settled here. Give each a line in the "
            "--token-file, or ask for fewer --reviewers", needed, known,
        )  # fmt: skip


def _beside(quarantine: Path) -> Path:
    folder = quarantine.resolve()
    return folder.with_name(f"{folder.name}-reviews.db")


def _settings(flags: dict[str, Any]) -> Any:
    from ce_detect.console.neighbours import Neighbours
    from ce_detect.console.settings import ConsoleSettings
    from ce_detect.data import load_data
    from ce_detect.runtime import Gate

    key = flags["trusted_key"]
    gate = None if flags["graph"] is None else Gate(flags["graph"], threads=1, sha256=flags["sha256"], trusted_key=key)
    guard, bounds, resizing = None, None if gate is None else gate.bounds, None
    if flags["guard"] is not None:
        from ce_detect.cli import _explaining

        guard = _explaining.loaded(flags["guard"], flags["model"], flags["weights"], key)
        bounds, resizing = guard.classifier.bounds, guard.wrapped.resizing
    return ConsoleSettings(
        quarantine=flags["quarantine"],
        audit=flags["audit"],
        gate=gate,
        explainer=None if guard is None else _explaining.explainer(guard),
        attacker=None if guard is None else _explaining.attacker(guard),
        clean=None if flags["clean"] is None else Neighbours(load_data(flags["clean"], resizing=resizing)),
        access=_access(flags),
        hosts=(*_HERE.values(), *({flags["host"]} - {"0.0.0.0", "::", *_HERE}), *flags["allow_host"]),
        secure=flags["https"] or flags["tls_certificate"] is not None,
        bounds=bounds,
    )


def _access(flags: dict[str, Any]) -> Access:
    from dataclasses import replace

    from ce_detect.console.access import Access, read_tokens

    file, proxies = flags["token_file"], frozenset(flags["proxy_from"])
    found = Access(anybody=getpass.getuser()) if file is None else read_tokens(file)
    return replace(found, header=flags["proxy_header"], proxies=proxies or found.proxies)
