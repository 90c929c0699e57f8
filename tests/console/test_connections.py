"""Clients that hold connections of the console without being logged in."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from support import consoles

from ce_detect.console.connections import Limits
from ce_detect.records.store import Store

GET = b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
BODY = b"POST /undo HTTP/1.1\r\nHost: 127.0.0.1\r\n" + _FORM + b"Content-Length: 9\r\n\r\na"


@contextlib.contextmanager
def held(url: str, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Connections that say this, and then nothing."""
    with contextlib.ExitStack() as stack:
        address = urlsplit(url)
        found = []
        for _ in range(count):
            found.append(stack.enter_context(socket.create_connection((str(address.hostname), address.port or 0), 5)))
            found[-1].sendall(sent)
        time.sleep(0.2)
        yield found


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET, BODY, GET * 200])
def test_nobody_keeps_a_reviewer_out(store: Store, sent: bytes) -> None:
    """Silent clients, half a head, idle after an answer, half a body, answers that nobody reads: each gives way."""
    limits = Limits(connections=8)
    with consoles.running(store, limits=limits) as url, held(url, 30, sent):
        deadline = time.monotonic() + 10
        while httpx.get(f"{url}/alive", trust_env=False, timeout=5).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert httpx.get(f"{url}/", trust_env=False, timeout=5).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HT", BODY])
def test_a_request_that_does_not_come_is_cut_off(store: Store, sent: bytes) -> None:
    """Head and body alike, after the time allowed."""
    with consoles.running(store, limits=Limits(receive_seconds=0.2)) as url, held(url, 1, sent) as (connection,):
        connection.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""


def test_too_many_at_work_are_refused(store: Store) -> None:
    """Where none gives way."""
    with consoles.running(store, limits=Limits(connections=0)) as url:
        answer = httpx.get(f"{url}/alive", trust_env=False)
    assert answer.status_code == 503
    assert "Too many connections" in answer.text
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_doubtful_http_is_refused(store: Store, sent: bytes) -> None:
    """What two readers may understand in two ways."""
    with consoles.running(store) as url, held(url, 1, sent) as (connection,):
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
