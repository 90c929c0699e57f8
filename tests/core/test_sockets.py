"""Sockets that servers listen on."""

from __future__ import annotations

import resource
import socket

import pytest

from ce_detect.core.errors import UsageError
from ce_detect.core.sockets import BACKLOG, listening, room


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


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1024, 1 << 20), (1024, BACKLOG)), ((1024, 1024), (576, 128)), ((256, 256), (96, 32)), ((8, 8), (3, 1)),
        ((1 << 20, 1 << 20), (1024, BACKLOG)), ((resource.RLIM_INFINITY,) * 2, (1024, BACKLOG)),
    ],
)  # fmt: skip
def test_connections_have_files(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    """The limit is raised where it may be; otherwise fewer connections are taken, not all files used up."""
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda what, to: raised.append(to))
    assert room(1024) == expected
    assert all(to[1] == limits[1] and limits[0] <= to[0] <= limits[1] for to in raised)


def test_a_limit_that_cannot_be_raised(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Said in the log, with what can be done."""

    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert room(1024) == (576, 128)
    assert "raise ulimit -n" in caplog.text
