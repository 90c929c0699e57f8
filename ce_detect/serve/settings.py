"""What an operator may set, with the limits that keep one client from starving the others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ce_detect.core.errors import UsageError
from ce_detect.records.settings import MEBIBYTE, AuditSettings, QuarantineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes, counts and times beyond which a request is refused.

    Attributes:
        batch: inputs that go through the graph at once; larger requests are split.
        delay: seconds that an incomplete batch waits for company.
        queue: inputs that may wait; more are refused with 503.
        inputs: inputs in one request.
        body: bytes in one request.
        json: bytes of JSON in one request: numbers take many times as much memory when they are read.
        pixels: of one image file; a small file can unpack to a large image.
        decoders: image files that are unpacked at once.
        pending: bytes of all requests that are being received or wait.
        connections: connections at once.
        receive_seconds: for the head of a request, and again for its body.
        answer_seconds: from the whole request to its answer.
        send_seconds: in which a client that is sent more than fits takes some of it.
        drain_seconds: for answers that are due when the server is told to stop.
        grace_seconds: between "not ready" and closing the door, for load balancers to notice.
    """

    batch: int = 32
    delay: float = 0.001
    queue: int = 1024
    inputs: int = 1024
    body: int = 64 * MEBIBYTE
    json: int = 8 * MEBIBYTE
    pixels: int = 1 << 25
    decoders: int = 2
    pending: int = 512 * MEBIBYTE
    connections: int = 1024
    receive_seconds: float = 10.0
    answer_seconds: float = 10.0
    send_seconds: float = 10.0
    drain_seconds: float = 30.0
    grace_seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """What an operator may set about the monitor; numbers as in `ce_detect.monitor`.

    Attributes:
        false_alarms: of each kind, per million clean inputs.
        queries: whether query attacks are looked for.
        near_duplicates: share of a client's inputs that may be near-copies of earlier ones; near 1 for video.
        clients: clients that are kept apart at once.
        habits: folder of natural images, whose differences tell those of a search; None = near-copies alone count.
        state: folder for what must survive a restart; None = nothing does.
        client_header: header that names the client, as a proxy sets it; None = the address of the connection.
        webhook: where alarms are sent; None = nowhere.
        webhook_secret: file with the key of its signature.
        redis: address of a Redis server through which several servers share fingerprints; None = each has its own.
        waiting: inputs that may wait for the monitor.
        waiting_bytes: of these inputs.
    """

    false_alarms: float = 1.0
    queries: bool = True
    near_duplicates: float = 0.05
    clients: int = 10_000
    habits: Path | None = None
    state: Path | None = None
    client_header: str | None = None
    webhook: str | None = None
    webhook_secret: Path | None = None
    redis: str | None = None
    waiting: int = 4096
    waiting_bytes: int = 256 * MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a server but the address it listens on.

    Attributes:
        artifact: the fused ONNX file.
        name: the model's name in the protocol, a part of addresses.
        policy: ``"abstain"`` sets the labels of flagged inputs to −1.
        allow_threshold: whether a request may bring its own threshold; off, as an attacker would choose it.
        threads: of ONNX Runtime in one batch; None = its own choice.
        providers: execution providers of ONNX Runtime; None = the runtime's choice.
        limits: see `Limits`.
        audit: see `AuditSettings`; None = no audit log.
        quarantine: see `QuarantineSettings`; None = flagged inputs are not kept.
        token_file: file whose content is the bearer token; None = no authentication.
        allowed_hosts: names of the server beside addresses and those of this machine, see
            `ce_detect.serve.origins.Origins`.
        otlp_endpoint: where traces are sent; None = no traces.
        sha256: which file it must be, see `ce_detect.artifacts.trust.Trust`; also when it is loaded anew.
        trusted_key: see there.
        watch: see `WatchSettings`; None = the stream is not watched.

    Raises:
        UsageError: a name that no address can have.
    """

    artifact: Path
    name: str = "guard"
    policy: Literal["flag", "abstain"] = "flag"
    allow_threshold: bool = False
    threads: int | None = None
    providers: tuple[str, ...] | None = None
    limits: Limits = field(default_factory=Limits)
    audit: AuditSettings | None = None
    quarantine: QuarantineSettings | None = None
    token_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    otlp_endpoint: str | None = None
    sha256: str | None = None
    trusted_key: Path | None = None
    watch: WatchSettings | None = None

    def __post_init__(self) -> None:
        """Refuse a model that nobody could ask for."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,255}", self.name):
            raise UsageError(
                f"name = {self.name[:80]!r} cannot be part of an address; use letters, digits, '_', '-' and '.'"
            )
