"""Clients that behave badly, and answers that leave in one piece."""

from __future__ import annotations

import asyncio.selector_events
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import fused
from support.serving import INFER, Watched, client, connected, infer, limits, received, serving


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"POST /v2 HTTP/1.1\r\nHo", b""),
        (f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc".encode(), b"HTTP/1.1 408"),
    ],
)
def test_slow_clients_are_cut_off(folder: Path, sent: bytes, answered: bytes) -> None:
    """Whoever sends no head, or half a head or body, is cut off after the time allowed."""
    with serving(folder, limits=limits(receive_seconds=0.3)) as server, connected(server) as connection:
        connection.sendall(sent)
        assert received(connection).startswith(answered)
        with client(server) as http:
            assert http.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / SMTP\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
    ],
)
def test_what_is_no_http(server: Watched, http: httpx.Client, sent: bytes) -> None:
    """It is answered with 400 in the protocol's form, or cut off, and the server goes on."""
    with connected(server) as connection:
        connection.sendall(sent)
        answer = received(connection)
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4")
        assert list(json.loads(body)) == ["error"]
    assert infer(http, fused.images(1)).status_code == 200


def test_too_many_connections(folder: Path) -> None:
    """Beyond the limit only probes are answered, until somebody leaves."""
    with serving(folder, limits=limits(connections=1)) as server:
        with client(server) as first:
            assert infer(first, fused.images(1)).status_code == 200
            with client(server) as second:
                refused = infer(second, fused.images(1))
            with client(server) as third:
                assert third.get("/v2/health/live").status_code == 200
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "connections" in refused.json()["error"]


def test_an_answer_leaves_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body of each answer go out in one send: another is another packet, and time that the graph could use."""
    sent: list[bytes] = []
    transport = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write

    def watched(self: Any, data: bytes) -> None:
        sent.append(bytes(data))
        write(self, data)

    monkeypatch.setattr(transport, "write", watched)
    with serving(tmp_path) as server, client(server) as http:
        before = len(sent)
        answers = [infer(http, fused.images(count)) for count in (1, 2, 3)]
        pieces = sent[before:]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(pieces) == 3
    assert all(
        piece.startswith(b"HTTP/1.1 200") and piece.endswith(answer.content)
        for piece, answer in zip(pieces, answers, strict=True)
    )
