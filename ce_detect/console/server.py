"""The console as a process: uvicorn on one socket, and a thread that takes in what is new."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy
import uvicorn

from ce_detect.console.app import make_app
from ce_detect.console.connections import Connection, Limits
from ce_detect.console.console import Console
from ce_detect.console.settings import ConsoleSettings
from ce_detect.core import connections
from ce_detect.core.errors import UsageError
from ce_detect.core.sockets import listening, room
from ce_detect.records.importing import Intake
from ce_detect.records.store import Store

logger = logging.getLogger("ce_detect.console")

EVERY = 2.0
"""Seconds between two looks at the quarantine."""


class ConsoleServer:
    """The console behind one socket.

    Attributes:
        address: host and port that it listens on.

    Args:
        settings: of the console.
        store: of the reviews.
        host: address to listen on.
        port: 0 = any free one.
        certificate: PEM file of the TLS certificate chain; None = no TLS.
        key: PEM file of its private key.
        limits: of its connections.

    Raises:
        UsageError: the address, the certificate or a folder cannot be used.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        store: Store,
        *,
        host: str = "127.0.0.1",
        port: int = 8100,
        certificate: Path | None = None,
        key: Path | None = None,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        self._intake = Intake(store, quarantine=settings.quarantine, audit=settings.audit)
        self._socket = listening(host, port)
        self.address = self._socket.getsockname()[:2]
        places, backlog = room(limits.connections)
        config = uvicorn.Config(
            make_app(Console(settings, store)), http=_limited(replace(limits, connections=places)), backlog=backlog,
            log_level="warning", access_log=False, proxy_headers=False, server_header=False, ws="none", loop="asyncio",
            lifespan="off", timeout_keep_alive=30, timeout_graceful_shutdown=5, ssl_certfile=certificate,
            ssl_keyfile=key,
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:
            self._socket.close()
            raise UsageError(f"TLS certificate {certificate} or key {key} cannot be used: {error}") from error
        self._server = connections.Server(config)

    def run(self) -> None:
        """Answer until a signal, or until `stop`."""
        with taking_in(self._intake):
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run` from another thread."""
        self._server.should_exit = True


def _limited(limits: Limits) -> type[Connection]:
    class Limited(Connection):
        """With the limits of this console."""

    Limited.limits = limits
    return Limited


@contextmanager
def taking_in(intake: Intake, every: float = EVERY) -> Iterator[None]:
    """Take in what is new, again and again, in a thread of its own while the block lasts."""
    over = threading.Event()

    def work() -> None:
        while True:
            try:
                intake.run()
            except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
                logger.warning("nothing new can be taken in, trying again: %s", error)
            except Exception:  # whatever one file holds, the others still come in
                logger.exception("nothing new can be taken in, trying again")
            if over.wait(every):
                return

    thread = threading.Thread(target=work, name="ce-detect-intake", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
