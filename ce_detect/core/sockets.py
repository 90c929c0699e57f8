"""Sockets that servers listen on."""

from __future__ import annotations

import socket

from ce_detect.core.errors import UsageError

BACKLOG = 2048
"""Connections that may wait to be accepted."""


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 = any free one.

    Its connections send what is written at once. Asyncio sees to that for sockets that it makes itself; here the body
    of an answer would wait some 40 ms for the client to acknowledge its head.

    Raises:
        UsageError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}; name another --host or --port"
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # which the connections inherit
    return listener
