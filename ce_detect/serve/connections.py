"""Connections of this server: who gives way, how they end, and refusals in the protocol's form."""

from __future__ import annotations

import logging
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ce_detect.core import connections
from ce_detect.serve import protocol
from ce_detect.serve.access import OPEN
from ce_detect.serve.errors import RequestError
from ce_detect.serve.responses import refused
from ce_detect.serve.service import Service
from ce_detect.serve.settings import Limits

logger = logging.getLogger("ce_detect.serve")

CLOSE = (b"connection", b"close")
"""The header that ends a connection."""

UNSENT = 1 << 17
"""Bytes of answers that the system keeps for a client that does not take them; by itself it would keep megabytes."""


class ClosingApp:
    """Ends connections after an answer: all of them while the server drains, and those whose body was not read."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with a header that ends the connection where it must end."""
        whole = scope.get("method") in ("GET", "HEAD")

        async def receiving() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and (self._service.draining or not whole):
                others = [header for header in message.get("headers", ()) if header != CLOSE]
                message["headers"] = [*others, CLOSE]
            await send(message)

        await self._app(scope, receiving if scope["type"] == "http" else receive, sending)


class Connection(connections.Connection):
    """A connection with refusals in the protocol's form.

    Whoever has no token keeps nobody out who has one: without, a connection ends with its first answer, and before that
    it gives way.
    """

    limits: Limits

    def overloaded(self, app: Any) -> Any:
        """Refuse all but health."""
        return _Overloaded(app)

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
