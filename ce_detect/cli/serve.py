"""``ce-detect serve``: a fused guard behind HTTP; needs no torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.core.errors import MissingExtraError, UsageError

_PACKAGES = {name: name for name in ("starlette", "uvicorn", "h11", "msgspec", "onnxruntime")} | {
    "prometheus_client": "prometheus-client"
}
MEBIBYTES = click.IntRange(min=1)


@click.command("serve")
@click.argument("guard", type=options.FILE)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 = any free port.")
@click.option("--name", default="guard", show_default=True, help="The model's name in the protocol.")
@click.option("--policy", type=click.Choice(["flag", "abstain"]), default="flag", show_default=True,
              help="abstain: labels of flagged inputs are -1.")  # fmt: skip
@click.option("--allow-threshold", is_flag=True, help="Let clients choose a threshold; an attacker would, too.")
@click.option("--threads", type=options.COUNT, help="Of ONNX Runtime; by default as many as cores.")
@click.option("--provider", "providers", multiple=True, help="Execution provider of ONNX Runtime, the first first.")
@click.option("--batch", type=options.COUNT, default=32, show_default=True, help="Inputs judged at once.")
@click.option("--delay-ms", type=click.FloatRange(0, 1000), default=1.0, show_default=True,
              help="How long an incomplete batch waits for company.")  # fmt: skip
@click.option("--queue", type=options.COUNT, default=1024, show_default=True, help="Inputs that may wait.")
@click.option("--max-inputs", type=options.COUNT, default=1024, show_default=True, help="Inputs in one request.")
@click.option("--max-body", type=MEBIBYTES, default=64, show_default=True, help="MiB in one request.")
@click.option("--max-json", type=MEBIBYTES, default=8, show_default=True, help="MiB of JSON in one request.")
@click.option("--max-pending", type=MEBIBYTES, default=512, show_default=True, help="MiB in all requests together.")
@click.option("--max-connections", type=options.COUNT, default=1024, show_default=True, help="Connections at once.")
@click.option("--receive-timeout", type=options.Duration(), default=10.0, show_default=True,
              help="For a request's head, and again for its body.")  # fmt: skip
@click.option("--answer-timeout", type=options.Duration(), default=10.0, show_default=True, help="For its answer.")
@click.option("--drain-timeout", type=options.Duration(), default=30.0, show_default=True,
              help="For all answers due when the server is told to stop.")  # fmt: skip
@click.option("--grace", type=options.Duration(), default=1.0, show_default=True,
              help="Between 'not ready' and closing the door.")  # fmt: skip
@click.option("--token-file", type=options.FILE, help="File with the bearer token that clients must bring.")
@click.option("--tls-certificate", type=options.FILE, help="PEM file of the certificate chain.")
@click.option("--tls-key", type=options.FILE, help="PEM file of its private key.")
@click.option("--audit", type=options.FILE, help="File of JSON lines, one a verdict.")
@click.option("--audit-size", type=MEBIBYTES, default=64, show_default=True, help="MiB at which a new file begins.")
@click.option("--audit-keep", type=click.IntRange(min=0), default=8, show_default=True, help="Full files kept.")
@click.option("--audit-fsync", type=click.Choice(["never", "batch"]), default="never", show_default=True,
              help="batch: answers leave once their lines are on the disk.")  # fmt: skip
@click.option("--quarantine", type=options.FOLDER, help="Folder for flagged inputs.")
@click.option("--quarantine-size", type=MEBIBYTES, default=1024, show_default=True, help="MiB at which it is full.")
@click.option("--otlp-endpoint", help="Where traces go, such as http://127.0.0.1:4318/v1/traces.")
@click.option("--supervised", is_flag=True, help="Serve from a child process, and start it anew when it dies.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info",
              show_default=True, help="Of the JSON lines on stderr.")  # fmt: skip
@options.every_command(seed=0)
def command(as_json: bool, seed: int, **flags: Any) -> int:
    """Serve an exported detector over HTTP: Open Inference Protocol v2, metrics at /metrics.

    SIGTERM drains and stops, SIGHUP loads the file anew. One process: with --supervised, or a supervisor from outside,
    it is started again if it dies.
    """
    if (flags["tls_certificate"] is None) != (flags["tls_key"] is None):
        raise UsageError("--tls-certificate and --tls-key come together")
    if not flags["supervised"]:
        _serve(flags, as_json)
        return 0
    from ce_detect.serve.sockets import listening
    from ce_detect.serve.supervisor import supervise

    listener = listening(flags["host"], flags["port"])
    if as_json:
        _tell(listener.getsockname())
    with _logged(flags):
        return supervise(listener, lambda post: _serve(flags, False, post))


def _serve(flags: dict[str, Any], as_json: bool, post: Any = None) -> None:
    with _extra():
        from ce_detect.serve.server import Server
    server = Server(
        _settings(flags),
        host=flags["host"],
        port=flags["port"],
        certificate=_text(flags["tls_certificate"]),
        key=_text(flags["tls_key"]),
        post=post,
    )
    if as_json:
        _tell(server.address)
    with _logged(flags):
        server.serve_forever()


@contextmanager
def _extra() -> Iterator[None]:
    """Name the extra where an import of one of its packages fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = _PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingExtraError(package, "serve", "ce-detect serve") from error


def _logged(flags: dict[str, Any]) -> AbstractContextManager[None]:
    with _extra():
        from ce_detect.serve.logs import json_lines
    return json_lines(getattr(logging, flags["log_level"].upper()))


def _tell(address: tuple[Any, ...]) -> None:
    """Write one line, for a program that asked for port 0."""
    click.echo(json.dumps({"host": address[0], "port": address[1]}))


def _settings(flags: dict[str, Any]) -> Any:
    from ce_detect.records.settings import MEBIBYTE, AuditSettings, QuarantineSettings
    from ce_detect.serve.settings import Limits, Settings

    limits = Limits(
        batch=flags["batch"],
        delay=flags["delay_ms"] / 1000,
        queue=flags["queue"],
        inputs=flags["max_inputs"],
        body=flags["max_body"] * MEBIBYTE,
        json=flags["max_json"] * MEBIBYTE,
        pending=flags["max_pending"] * MEBIBYTE,
        connections=flags["max_connections"],
        receive_seconds=flags["receive_timeout"],
        answer_seconds=flags["answer_timeout"],
        drain_seconds=flags["drain_timeout"],
        grace_seconds=flags["grace"],
    )
    audit = flags["audit"] and AuditSettings(
        path=flags["audit"],
        most_bytes=flags["audit_size"] * MEBIBYTE,
        keep=flags["audit_keep"],
        fsync=flags["audit_fsync"],
    )
    quarantine = flags["quarantine"] and QuarantineSettings(
        folder=flags["quarantine"], most_bytes=flags["quarantine_size"] * MEBIBYTE
    )
    return Settings(
        artifact=flags["guard"],
        name=flags["name"],
        policy=flags["policy"],
        allow_threshold=flags["allow_threshold"],
        threads=flags["threads"],
        providers=flags["providers"] or None,
        limits=limits,
        audit=audit,
        quarantine=quarantine,
        token_file=flags["token_file"],
        otlp_endpoint=flags["otlp_endpoint"],
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
