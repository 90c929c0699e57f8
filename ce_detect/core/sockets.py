"""Sockets that servers listen on, and how many files there are for their connections."""

from __future__ import annotations

import logging
import socket

from ce_detect.core.errors import UsageError

logger = logging.getLogger("ce_detect")

BACKLOG = 2048
"""Connections that may wait to be accepted."""

_ROUNDS = 3
"""Times that asyncio accepts all who wait before it closes the first that gave way."""

_OTHERS = 64
"""Files that a server has open beside its connections."""


def room(connections: int) -> tuple[int, int]:
    """How many connections a process has files for, so that one more is refused, and not left to wait for ever.

    The limit of open files (``ulimit -n``), often 1,024, is raised as far as it may be. Those that wait are accepted
    all at once, and again, before any gives way.

    Args:
        connections: that are asked for.

    Returns:
        Connections at once, and connections that may wait.
    """
    wanted = connections + _ROUNDS * BACKLOG + _OTHERS
    files = _files(wanted)
    backlog = BACKLOG if files >= wanted else max(1, min(BACKLOG, files // 8))
    found = min(connections, max(1, files - _ROUNDS * backlog - min(_OTHERS, files // 4)))
    if found < connections:
        logger.warning(
            "this process may open %d files, enough for %d connections and not for %d; raise ulimit -n",
            files, found, connections,
        )  # fmt: skip
    return found, backlog


def _files(wanted: int) -> int:
    """Files that may be open at once, up to so many."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        return int(soft)
    return int(most)


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
