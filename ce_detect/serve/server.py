"""The HTTP server: uvicorn with our limits and our signals.

SIGTERM and SIGINT: not ready at once, every answer closes its connection, after the grace no new connections, and the
end once every request that came is answered. SIGHUP: the artifact's file is loaded anew. A signal, not a watch of the
file: a watch cannot tell a file that is half copied from one that is whole.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from ce_detect.core import connections
from ce_detect.core.errors import UsageError
from ce_detect.core.sockets import listening, room
from ce_detect.serve.access import BearerToken, read_token
from ce_detect.serve.app import make_app
from ce_detect.serve.connections import UNSENT, ClosingApp, Connection
from ce_detect.serve.origins import Origins
from ce_detect.serve.service import Service
from ce_detect.serve.settings import Limits, Settings
from ce_detect.serve.tracing import Tracing

logger = logging.getLogger("ce_detect.serve")

_HEARD_OUT = 25
"""Times 20 ms that a connection without a request is kept when the server stops."""


class Server(connections.Server):
    """One artifact behind one socket.

    Attributes:
        service: the artifact and its records.
        address: host and port that it listens on.

    Args:
        settings: of the server.
        host: address to listen on.
        port: 0 = any free one.
        certificate: PEM file of the TLS certificate chain; None = no TLS.
        key: PEM file of its private key.

    Raises:
        UsageError: the address, the certificate, the token or a folder cannot be used.
        MissingExtraError: traces are wanted and the extra ``otel`` is not installed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.service = Service(settings)
        tracing = Tracing.to(settings.otlp_endpoint) if settings.otlp_endpoint else None
        app: ASGIApp = make_app(self.service, tracing=tracing, loaded=self._loaded)
        if settings.token_file is not None:
            app = BearerToken(app, read_token(settings.token_file))
        app = Origins(app, (*settings.allowed_hosts, host), everybody=settings.token_file is not None)
        super().__init__(_config(ClosingApp(app, self.service), settings.limits, certificate, key))
        self._socket = listening(host, port)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)  # which the connections inherit
        self.address = self._socket.getsockname()[:2]

    @property
    def gave_up(self) -> bool:
        """Whether a thread was left computing when the server stopped, so that the process cannot end in order."""
        return self.service.gave_up

    def serve_forever(self) -> None:
        """Serve until a signal.

        Raises:
            ArtifactError: the artifact cannot be loaded.
        """
        self.run(sockets=[self._socket])
        if self.service.failure is not None:
            raise self.service.failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        host, port = self.address
        logger.info("listening", extra={"address": f"{host}:{port}"})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer on for the grace, so that load balancers and clients go elsewhere, then drain and close."""
        limits = self.service.settings.limits
        grace = 0.0 if self.service.failure else limits.grace_seconds
        self.service.drain(grace + limits.drain_seconds)
        logger.info("draining")
        await asyncio.sleep(grace)
        await self._close_the_door()
        hurry = asyncio.get_running_loop().call_later(self.service.left(), self._hurry)
        await super().shutdown(sockets)
        hurry.cancel()
        logger.info("stopped")

    def _hurry(self) -> None:
        """Let go of clients that do not take their answers, before their requests are cancelled."""
        for connection in list(self.server_state.connections):
            connection.hurry()  # type: ignore[union-attr]

    async def _close_the_door(self) -> None:
        """Accept nobody, and hear out those who came in last: uvicorn would cut them off before their first request."""
        for server in self.servers:
            server.close()
        for _ in range(_HEARD_OUT):
            if all(connection.cycle is not None for connection in self.server_state.connections):  # type: ignore[union-attr]
                return
            await asyncio.sleep(0.02)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the event loop; where this is not the main thread somebody else does."""
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(self.service.reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        try:
            for stopping in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(stopping, self.handle_exit, stopping, None)
            loop.add_signal_handler(signal.SIGHUP, reload)
        except (ValueError, RuntimeError):
            logger.debug("not the main thread: signals are left alone")
        yield

    def _loaded(self) -> None:
        if self.service.failure is not None:
            self.should_exit = True


def _config(app: ASGIApp, limits: Limits, certificate: Path | None, key: Path | None) -> uvicorn.Config:
    class Limited(Connection):
        """With the limits of this server."""

    places, backlog = room(limits.connections)
    Limited.limits = replace(limits, connections=places)
    config = uvicorn.Config(
        app,
        http=Limited,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=backlog,
        timeout_keep_alive=math.ceil(limits.receive_seconds),
        timeout_graceful_shutdown=math.ceil(limits.drain_seconds) + 1,  # behind `_hurry`
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:
        raise UsageError(f"TLS certificate {certificate} or key {key} cannot be used: {error}") from error
    return config
