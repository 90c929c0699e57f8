"""Sockets that servers listen on."""

from __future__ import annotations

import socket

import pytest

from ce_detect.core.errors import UsageError
from ce_detect.core.sockets import listening


def test_answers_leave_at_once() -> None:
    """Head and body are written one after the other, and the second must not wait for an acknowledgement."""
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_taken() -> None:
    """The error names it, and the flags."""
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}: .*--host or --port"):
            listening("127.0.0.1", port)
