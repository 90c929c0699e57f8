"""Whom a browser may carry a request for: nobody but pages of this server.

A web page can make the reader's browser send requests to servers on the reader's machine or network. By DNS rebinding
the page's own name comes to stand for that server, and then the page reads the answers. So without a token, which no
page knows, requests must name the server by an address or a name that is its own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ce_detect.serve.access import OPEN
from ce_detect.serve.errors import RequestError
from ce_detect.serve.responses import refused

ANY = "*"
"""In the place of a name: every name."""

TYPES = ("application/json", "application/octet-stream")
"""Content types of requests, beside images. A page may send others, such as text/plain, without asking first."""


class Origins:
    """Lets requests through that name this server, and come from no page of another.

    An IP address names it always: a page's own name is none. So do ``localhost``, names below it, and the name of this
    machine.

    Args:
        app: what is protected.
        names: more names of this server, such as those of a proxy or a service in a cluster; `ANY` for every name.
        everybody: whether requests bring a token, so that only their content type is looked at.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], *, everybody: bool) -> None:
        self._app, self._everybody = app, everybody or ANY in names
        self._others = frozenset(map(str.lower, names))
        self._names = self._others | {"localhost", socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the place of the app where a request is refused; probes tell nothing and are let through."""
        error = None if scope["type"] != "http" or scope["path"].startswith(OPEN) else self._problem(scope)
        if error is None:
            await self._app(scope, receive, send)
        else:
            await refused(error)(scope, receive, send)

    def _problem(self, scope: Scope) -> RequestError | None:
        headers = HTTPConnection(scope).headers
        host, origin = headers.get("host"), headers.get("origin")
        if not self._everybody and host is not None and not self._is_ours(_name(f"//{host}")):
            return RequestError(
                f"this server is not called {host[:80]!r}; the operator may start it with --allowed-host", status=421
            )
        if not self._everybody and origin is not None and not self._is_same(origin, host):
            return RequestError(f"a page of {origin[:80]!r} may not ask this server", status=403)
        kind = headers.get("content-type", TYPES[0]).partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind not in TYPES and not kind.startswith("image/"):
            return RequestError(f"content type {kind[:80]!r}, expected {' or '.join(TYPES)}, or an image", status=415)
        return None

    def _is_ours(self, name: str) -> bool:
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _is_same(self, origin: str, host: str | None) -> bool:
        """Whether a page is one of this server, or of a name that the operator allows."""
        _, _, place = origin.lower().partition("://")
        return place == (host or "").lower() or _name(origin) in self._others


def _name(address: str) -> str:
    """Name or IP address in an address; nothing where it has none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
