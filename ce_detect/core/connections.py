"""Connections of a server: what uvicorn leaves open about slow clients, too many clients, and doubtful HTTP."""

from __future__ import annotations

import asyncio
import math
import socket
from functools import partial
from typing import Any, Protocol

import h11
import uvicorn
from h11._connection import DEFAULT_MAX_INCOMPLETE_EVENT_SIZE
from uvicorn.protocols.http.h11_impl import H11Protocol

TAKEN = 1 << 16
"""Bytes that a client takes in `Patience.send_seconds`, at least, where more than that wait for it."""

PATIENCE = 1.0
"""Seconds after which a client that does not take its answers gives way, where others wait for a place."""

_VERSIONS = frozenset({b"1.0", b"1.1"})


class Patience(Protocol):
    """What a server allows its clients.

    Attributes:
        connections: connections at once.
        receive_seconds: for the head of a request.
        send_seconds: in which a client that is sent more than fits takes some of it.
    """

    @property
    def connections(self) -> int: ...  # noqa: D102  above
    @property
    def receive_seconds(self) -> float: ...  # noqa: D102
    @property
    def send_seconds(self) -> float: ...  # noqa: D102


class Server(uvicorn.Server):
    """A server whose clients have as long for the handshake of TLS as for the head of a request; asyncio waits 60 s."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        if self.config.ssl is not None:
            protocol: Any = self.config.http_protocol_class
            loop, seconds = asyncio.get_running_loop(), protocol.limits.receive_seconds
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=seconds)  # type: ignore[method-assign]
        await super().startup(sockets)


class Connection(H11Protocol):
    """A connection that is cut off where the head of a request does not come, or the answer is not taken, in time.

    Where there are too many, one that has its place for nothing gives it to the next.

    Attributes:
        limits: of the server.
    """

    limits: Patience
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _idle_since = math.inf
    """Time of the event loop since which there was nothing but waiting for this client."""

    def __init__(self, config: uvicorn.Config, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self.conn = _Strict(h11.SERVER, config.h11_max_incomplete_event_size or DEFAULT_MAX_INCOMPLETE_EVENT_SIZE)

    def connection_made(self, transport: Any) -> None:
        """Start the clock, and refuse requests where there are too many connections."""
        super().connection_made(_Joining(transport, self.loop, self.limits.send_seconds))  # type: ignore[arg-type]
        if len(self.connections) > self.limits.connections and not self._is_given_a_place():
            self.app = self.overloaded(self.app)
        self._idle_since = self.loop.time()
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        for clock in (self._deadline, self._stalled):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the clock of a client that does not take its answers."""
        super().pause_writing()
        self._idle_since = self.loop.time()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Stop it."""
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    @property
    def gives_way(self) -> bool:
        """Whether it holds its place for nothing: no request came, or for a while nothing was taken of an answer."""
        if self.transport.is_closing():
            return False
        stuck = self.flow.write_paused and self.loop.time() - self._idle_since > PATIENCE
        return self.cycle is None or stuck

    def hurry(self) -> None:
        """Let go of a client that does not take its answers: the server stops."""
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()

    def overloaded(self, app: Any) -> Any:
        """What answers where there are too many connections, and none gives way."""
        raise NotImplementedError

    def on_response_complete(self) -> None:
        """Wait for the next request, for a while."""
        self._idle_since = self.loop.time()
        self._start_clock()
        super().on_response_complete()

    def _is_given_a_place(self) -> bool:
        """Let go of the connection that has waited in vain for longest; whether there was one."""
        others = [other for other in self.connections if other is not self and other.gives_way]  # type: ignore[union-attr]
        if not others:
            return False
        min(others, key=lambda other: other._idle_since).transport.abort()  # type: ignore[union-attr]
        return True

    def _wait_for_reader(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self.limits.send_seconds, self._not_taken, waiting)

    def _not_taken(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < TAKEN:
            self.transport.abort()
        else:
            self._wait_for_reader()

    def _start_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.limits.receive_seconds, self._too_late)

    def _too_late(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Strict(h11.Connection):
    """HTTP as h11 reads it, without what two readers may understand in two ways, which requests are smuggled by."""

    def next_event(self) -> Any:
        """The next event; what is doubtful is an error of the client."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = [name for name, _ in event.headers]
            if event.http_version not in _VERSIONS:
                raise h11.RemoteProtocolError("this is no version of HTTP that is spoken here")
            if b"content-length" in names and b"transfer-encoding" in names:
                raise h11.RemoteProtocolError("a body cannot have a length and be chunked")
        return event


class _Joining:
    """A transport that hands on at once what is written to it in one go: uvicorn writes head and body separately.

    Once it is closed, what was not taken in time is given up.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._transport, self._loop, self._seconds = transport, loop, seconds
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
        if self._transport.get_write_buffer_size():
            self._loop.call_later(self._seconds, self._transport.abort)

    def _flush(self) -> None:
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            self._transport.write(data)
