"""Connections of the console: browsers open several and keep them, and whoever is not logged in may open any number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from ce_detect.core import connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """See `ce_detect.core.connections.Patience`; a request's body may take as long as its head once more."""

    connections: int = 128
    receive_seconds: float = 30.0
    send_seconds: float = 30.0


class Connection(connections.Connection):
    """A connection that gives way while it waits for its client: also between two requests, and within one's body.

    So whoever is not logged in keeps no reviewer out. A browser whose idle connection is gone opens another.
    """

    limits: Limits
    _waited_for: Any = None

    @property
    def gives_way(self) -> bool:
        """Whether it waits for the client, or for a while nothing was taken of an answer."""
        waits = self.cycle is None or self.cycle.response_complete or self.cycle.more_body
        return not self.transport.is_closing() and (waits or super().gives_way)

    def overloaded(self, app: Any) -> ASGIApp:
        """Refuse everything."""
        return PlainTextResponse("Too many connections. Try again in a moment.", 503, {"connection": "close"})

    def _too_late(self) -> None:
        """Cut off a request whose body does not come either."""
        if self.cycle is not None and self.cycle.more_body and self.cycle is not self._waited_for:
            self._waited_for = self.cycle
            self._start_clock()
        elif self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            self.transport.abort()
