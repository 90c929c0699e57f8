"""Who may ask: a bearer token, where the operator wants one."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ce_detect.core.errors import UsageError
from ce_detect.serve.errors import RequestError
from ce_detect.serve.responses import refused

OPEN = "/v2/health/"
"""Paths that need no token: probes of a supervisor or a load balancer, which tell nothing but alive and ready."""


LONGEST_NAME = 200
"""Characters of a client's name; what comes after is not looked at."""


def read_token(path: Path) -> bytes:
    """Return the token in a file, without white space around it.

    Raises:
        UsageError: the file cannot be read, or holds no single word.
    """
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"token file {path} cannot be read: {error.strerror}") from error
    if not token or len(token.split()) > 1:
        raise UsageError(f"token file {path} must hold one word, the token")
    return token


def client_of(connection: HTTPConnection, header: str | None) -> str | None:
    """Who asks: what a proxy says in a header, or the address of the connection; of bounded length."""
    named = connection.headers.get(header) if header else None
    return (named or (connection.client.host if connection.client else ""))[:LONGEST_NAME] or None


class BearerToken:
    """Lets requests through that bring the token; the comparison takes the same time for every wrong one.

    Args:
        app: what is protected.
        token: what ``Authorization: Bearer`` must say; the scheme in any case (RFC 9110, section 11.1).
    """

    def __init__(self, app: ASGIApp, token: bytes) -> None:
        self._app, self._expected = app, hashlib.sha256(token).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 in the place of the app where the token is wrong or absent; who has none keeps no connection."""
        if scope["type"] != "http" or self._is_right(scope):
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(OPEN):
            await self._app(scope, receive, _closing(send))
            return
        answer = refused(RequestError("no valid bearer token in the header Authorization", status=401))
        answer.headers["connection"] = "close"
        answer.headers["www-authenticate"] = "Bearer"
        await answer(scope, receive, send)

    def _is_right(self, scope: Scope) -> bool:
        scheme, _, token = HTTPConnection(scope).headers.get("authorization", "").partition(" ")
        # hashes are of one length, so not even the token's length shows in the time
        given = hashlib.sha256(token.strip(" ").encode("latin-1")).digest()
        return hmac.compare_digest(given, self._expected) and scheme.lower() == "bearer"


def _closing(send: Send) -> Send:
    """Ends the connection behind the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return sending
