"""The HTTP server: uvicorn, with times for slow clients, a limit of connections, and signals.

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
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ce_detect.core.errors import UsageError
from ce_detect.serve import protocol
from ce_detect.serve.access import OPEN, BearerToken, read_token
from ce_detect.serve.app import make_app
from ce_detect.serve.errors import RequestError
from ce_detect.serve.responses import refused
from ce_detect.serve.service import Service
from ce_detect.serve.settings import Limits, Settings
from ce_detect.serve.sockets import BACKLOG, listening
from ce_detect.serve.supervisor import FORWARDED, Post
from ce_detect.serve.tracing import Tracing

logger = logging.getLogger("ce_detect.serve")


_HEARD_OUT = 25
"""Times 20 ms that a connection without a request is kept when the server stops."""


class Server(uvicorn.Server):
    """One artifact behind one socket.

    Attributes:
        service: what is served.
        address: host and port that it listens on.

    Args:
        settings: of the server.
        host: address to listen on.
        port: 0 = any free one.
        certificate: PEM file of the TLS certificate chain; None = no TLS.
        key: PEM file of its private key.
        post: what the supervisor gave to this process, its listening socket above all; None = there is none.

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
        certificate: str | None = None,
        key: str | None = None,
        post: Post | None = None,
    ) -> None:
        self.service = Service(settings)
        tracing = Tracing.to(settings.otlp_endpoint) if settings.otlp_endpoint else None
        app: ASGIApp = make_app(self.service, tracing=tracing, loaded=self._loaded)
        if settings.token_file is not None:
            app = BearerToken(app, read_token(settings.token_file))
        super().__init__(_config(_Closing(app, self.service), settings.limits, certificate, key))
        self._post = post
        self._socket = listening(host, port) if post is None else post.listener
        self.address = self._socket.getsockname()[:2]

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
        self.service.draining = True
        logger.info("draining")
        if self.service.failure is None:
            await asyncio.sleep(self.service.settings.limits.grace_seconds)
        await self._close_the_door()
        await super().shutdown(sockets)
        logger.info("stopped")

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
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        except (ValueError, RuntimeError):
            logger.debug("not the main thread: signals are left alone")
        if self._post is not None:
            loop.add_reader(self._post.line, self._deserted, loop)
        yield

    def _deserted(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop as on SIGTERM: nobody could stop this process, or take its address, when its supervisor is dead."""
        assert self._post is not None
        loop.remove_reader(self._post.line)
        logger.warning("the supervisor is gone")
        self.should_exit = True

    def _loaded(self) -> None:
        if self.service.failure is not None:
            self.should_exit = True
        elif self._post is not None:
            self._post.ready()


def _config(app: ASGIApp, limits: Limits, certificate: str | None, key: str | None) -> uvicorn.Config:
    class Protocol(_Protocol):
        """With the limits of this server."""

    Protocol.limits = limits
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(limits.receive_seconds),
        timeout_graceful_shutdown=math.ceil(limits.drain_seconds),
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:
        raise UsageError(f"TLS certificate {certificate} or key {key} cannot be used: {error}") from error
    return config


class _Closing:
    """Ends connections after an answer: all of them while the server drains, and those whose body was not read."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = scope.get("method") in ("GET", "HEAD")

        async def receiving() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and (self._service.draining or not whole):
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receiving if scope["type"] == "http" else receive, sending)


class _Protocol(H11Protocol):
    """A connection that is cut off where the head of a request does not come, or the answer is not taken, in time."""

    limits: Limits
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self.limits.connections:
            self.app = _Overloaded(self.app)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._start_clock()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the protocol's form."""
        body = protocol.error(msg)
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")]
        try:
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer was on its way already
            logger.debug("a connection broke in the middle of an answer")
        self.transport.close()

    def _start_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.limits.receive_seconds, self._too_late)

    def _too_late(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Joining:
    """A transport that hands on at once what is written to it in one go: uvicorn writes head and body separately."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep until the event loop goes on."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Close, once what was kept is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            self._transport.write(data)


class _Overloaded:
    """Refuses all but health where there are too many connections."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(OPEN):
            await self._app(scope, receive, send)
            return
        answer = refused(RequestError("too many connections; ask again later", status=503, retry_after=1))
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)
