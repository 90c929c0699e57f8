"""``ce-detect serve``: a fused guard behind HTTP; needs no torch."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.core.errors import UsageError
from ce_detect.core.extras import needed_for
from ce_detect.records.settings import MEBIBYTE, AuditSettings, QuarantineSettings
from ce_detect.serve.settings import Limits, Settings, WatchSettings


def _times(factor: float) -> Callable[[click.Context, click.Parameter, float], float]:
    """A value in another unit, as a setting takes it."""
    return lambda context, parameter, value: value * factor


def _mebibytes(flag: str, name: str, default: int, text: str) -> options.Decorator:
    """An option in MiB, for a setting in bytes."""
    return click.option(
        flag, name, type=options.COUNT, default=default, show_default=True, callback=_times(MEBIBYTE), help=text
    )


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
@click.option("--delay-ms", "delay", type=click.FloatRange(0, 1000), default=1.0, show_default=True,
              callback=_times(1e-3),
              help="How long an incomplete batch waits for company.")  # fmt: skip
@click.option("--queue", type=options.COUNT, default=1024, show_default=True, help="Inputs that may wait.")
@click.option(
    "--max-inputs", "inputs", type=options.COUNT, default=1024, show_default=True, help="Inputs in one request."
)
@_mebibytes("--max-body", "body", 64, "MiB in one request.")
@_mebibytes("--max-json", "json", 8, "MiB of JSON in one request.")
@_mebibytes("--max-pending", "pending", 512, "MiB in all requests together.")
@click.option("--max-pixels", "pixels", type=options.COUNT, default=1 << 25, show_default=True,
              help="Pixels of one image file; a small file can unpack to a large image.")  # fmt: skip
@click.option("--decoders", type=options.COUNT, default=2, show_default=True, help="Image files unpacked at once.")
@click.option("--max-connections", "connections", type=options.COUNT, default=1024, show_default=True,
              help="Connections at once.")  # fmt: skip
@click.option("--receive-timeout", "receive_seconds", type=options.Duration(), default=10.0, show_default=True,
              help="For a request's head, and again for its body.")  # fmt: skip
@click.option("--answer-timeout", "answer_seconds", type=options.Duration(), default=10.0, show_default=True,
              help="For its answer.")  # fmt: skip
@click.option("--send-timeout", "send_seconds", type=options.Duration(), default=10.0, show_default=True,
              help="For a client to take some of an answer.")  # fmt: skip
@click.option("--drain-timeout", "drain_seconds", type=options.Duration(), default=30.0, show_default=True,
              help="For all answers due when the server is told to stop.")  # fmt: skip
@click.option("--grace", "grace_seconds", type=options.Duration(), default=1.0, show_default=True,
              help="Between 'not ready' and closing the door.")  # fmt: skip
@click.option("--token-file", type=options.FILE, help="File with the bearer token that clients must bring.")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
              help="Without a token: a name of this server beside localhost and IP addresses; * for any.")  # fmt: skip
@click.option("--tls-certificate", type=options.FILE, help="PEM file of the certificate chain.")
@click.option("--tls-key", type=options.FILE, help="PEM file of its private key.")
@click.option("--audit", type=options.FILE, help="File of JSON lines, one a verdict.")
@_mebibytes("--audit-size", "audit_size", 64, "MiB at which a new file begins.")
@click.option("--audit-keep", type=click.IntRange(min=0), default=8, show_default=True, help="Full files kept.")
@click.option("--audit-fsync", type=click.Choice(["never", "batch"]), default="never", show_default=True,
              help="batch: answers leave once their lines are on the disk.")  # fmt: skip
@click.option("--quarantine", type=options.FOLDER, help="Folder for inputs to review: the flagged ones.")
@_mebibytes("--quarantine-size", "quarantine_size", 1024, "MiB at which it is full.")
@click.option("--quarantine-sample", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Share of all inputs that is kept there too, drawn at random: for recalibrate.")  # fmt: skip
@click.option("--monitor", is_flag=True, help="Watch the stream: campaigns, drift, query attacks; see docs.")
@click.option("--false-alarms", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Of the monitor, per million clean inputs.")  # fmt: skip
@click.option("--query-attacks/--no-query-attacks", "queries", default=True, show_default=True,
              help="Whether the monitor looks for many near-copies.")  # fmt: skip
@click.option("--near-duplicates", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
              show_default=True, help="Share of near-copies that is normal for a client; .99 for video.")  # fmt: skip
@click.option("--clients", type=options.COUNT, default=10_000, show_default=True, help="Clients that are kept apart.")
@click.option(
    "--habits", type=options.FOLDER, help="Folder of natural images: searches with large steps are found, too."
)
@click.option("--client-header", help="Header that names the client, set by a proxy; by default the address counts.")
@click.option("--monitor-state", "state", type=options.FOLDER, help="Folder for what must survive a restart.")
@click.option("--webhook", help="Address that alarms are sent to.")
@click.option("--webhook-secret", type=options.FILE, help="File with the key that signs them.")
@click.option("--redis", help="redis://host:port/0, where several servers share fingerprints of inputs.")
@click.option("--otlp-endpoint", help="Where traces go, such as http://127.0.0.1:4318/v1/traces.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info",
              show_default=True, help="Of the JSON lines on stderr.")  # fmt: skip
@options.trust_options()
@options.every_command(seed=0)
def command(as_json: bool, seed: int, **flags: Any) -> None:
    """Serve an exported detector over HTTP: Open Inference Protocol v2, metrics at /metrics.

    SIGTERM drains and stops, SIGHUP loads the file anew. It is one process: let systemd or the container start it again
    if it dies.
    """
    if (flags["tls_certificate"] is None) != (flags["tls_key"] is None):
        raise UsageError("--tls-certificate and --tls-key come together")
    with needed_for("ce-detect serve", extra="serve"):
        from ce_detect.serve.logs import json_lines
        from ce_detect.serve.server import Server
    server = Server(
        _settings(flags),
        host=flags["host"],
        port=flags["port"],
        certificate=flags["tls_certificate"],
        key=flags["tls_key"],
    )
    if as_json:  # for a program that asked for port 0
        host, port = server.address
        click.echo(json.dumps({"host": host, "port": port}))
    with json_lines(getattr(logging, flags["log_level"].upper())):
        server.serve_forever()
        if server.gave_up:  # ONNX Runtime aborts where the interpreter ends while it computes
            logging.shutdown()
            os._exit(0)


def _settings(flags: dict[str, Any]) -> Settings:
    audit = flags["audit"] and AuditSettings(
        path=flags["audit"], most_bytes=flags["audit_size"], keep=flags["audit_keep"], fsync=flags["audit_fsync"]
    )
    quarantine = flags["quarantine"] and QuarantineSettings(
        folder=flags["quarantine"], most_bytes=flags["quarantine_size"], sample=flags["quarantine_sample"]
    )
    watch = {field.name: flags[field.name] for field in fields(WatchSettings) if field.name in flags}
    same = (
        "name",
        "policy",
        "allow_threshold",
        "threads",
        "token_file",
        "otlp_endpoint",
        "sha256",
        "trusted_key",
        "allowed_hosts",
    )
    return Settings(
        artifact=flags["guard"],
        providers=flags["providers"] or None,
        limits=Limits(**{field.name: flags[field.name] for field in fields(Limits)}),
        watch=WatchSettings(**watch) if flags["monitor"] else None,
        audit=audit,
        quarantine=quarantine,
        **{name: flags[name] for name in same},
    )
