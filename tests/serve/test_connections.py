"""Clients that behave badly, and answers that leave in one piece."""

from __future__ import annotations

import asyncio.selector_events
import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import fused
from support.serving import INFER, PATIENCE, Watched, client, connected, infer, limits, received, serving


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"POST /v2 HTTP/1.1\r\nHo", b""),
        (f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc".encode(), b"HTTP/1.1 408"),
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
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v2 HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v2 HTTP/0.9\r\nHost: 127.0.0.1\r\n\r\n",
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


def unread(server: Watched, path: str) -> socket.socket:
    """A client that asks on and on, and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(server.address)
    connection.settimeout(0.5)
    with contextlib.suppress(TimeoutError, ConnectionError):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 600)
    return connection


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2", "/v2/openapi.json"])
def test_clients_that_never_read_do_not_keep_others_out(folder: Path, path: str) -> None:
    """With a token or without, what they are sent is not kept for ever, nor is their place."""
    (folder / "token").write_text("s3cret")
    for settings in ({"token_file": folder / "token"}, {}):
        few = limits(connections=4, send_seconds=0.3, receive_seconds=0.5)
        with serving(folder, limits=few, **settings) as server, contextlib.ExitStack() as held:
            for _ in range(4):
                held.enter_context(unread(server, path))
            until, answered = time.monotonic() + PATIENCE, 0
            while answered != 200 and time.monotonic() < until:
                with client(server, headers={"authorization": "Bearer s3cret"}) as http:
                    answered = infer(http, fused.images(1)).status_code
            assert answered == 200


@pytest.mark.parametrize("sent", [b"", b"GET /v2 HTTP/1.1\r\nHo", b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 600])
def test_clients_without_a_token_never_keep_out_those_with_one(folder: Path, sent: bytes) -> None:
    """Sixty come again and again, and ask for nothing, by half, or on and on; all limits are as by default but one."""
    (folder / "token").write_text("s3cret")
    with (
        serving(folder, limits=limits(connections=60), token_file=folder / "token") as server,
        contextlib.ExitStack() as held,
    ):
        began = time.monotonic()
        for _ in range(3):
            for _ in range(60):
                connection = held.enter_context(connected(server))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(sent)
            with client(server, headers={"authorization": "Bearer s3cret"}) as http:
                assert [infer(http, fused.images(1)).status_code for _ in range(3)] == [200, 200, 200]
        assert time.monotonic() - began < 5  # nobody waited for a timeout


def test_who_reads_nothing_gives_way(folder: Path) -> None:
    """Without a token, too, a place is not kept for an answer that nobody takes, long before the timeout."""
    with serving(folder, limits=limits(connections=4, send_seconds=60.0)) as server, contextlib.ExitStack() as held:
        for _ in range(4):
            held.enter_context(unread(server, "/v2/openapi.json"))
        until, answers = time.monotonic() + PATIENCE, list[int]()
        stuck = server.server_state.connections
        while sum(connection.flow.write_paused for connection in list(stuck)) < 4:  # type: ignore[union-attr]
            assert time.monotonic() < until
        while 200 not in answers and time.monotonic() < until:
            with client(server) as http:
                answers.append(infer(http, fused.images(1)).status_code)
        assert (answers[0], answers[-1]) == (503, 200)


def test_a_slow_reader_is_waited_for(folder: Path) -> None:
    """Who takes some of a large answer in time gets all of it, however long that takes."""
    with serving(folder, limits=limits(send_seconds=0.3)) as server, connected(server) as connection:
        connection.sendall(b"GET /v2/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        found, rounds = 0, 0
        while found < 400:
            time.sleep(0.02)
            part = connection.recv(1 << 17)
            assert part, f"cut off after {found} answers"
            found, rounds = found + part.count(b"HTTP/1.1 200"), rounds + 1
        assert rounds * 0.02 > 0.3


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


def test_idle_clients_do_not_use_up_the_files_of_the_process(folder: Path) -> None:
    """A limit of 256 open files, and 600 clients without a token that say nothing: who has one is answered.

    With the usual limit of 1,024 as many silent clients kept everybody out.
    """
    (folder / "token").write_text("s3cret")
    path = folder / "guard.onnx"
    if not path.exists():
        fused.write_graph(folder)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
    command = f"{limit}; from ce_detect.cli import main; main()"
    given = [sys.executable, "-c", command, "serve", path, "--port", "0", "--json", "--token-file", folder / "token"]
    with subprocess.Popen(list(map(str, given)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            port, headers = json.loads(process.stdout.readline())["port"], {"authorization": "Bearer s3cret"}
            with contextlib.ExitStack() as held:
                for _ in range(600):
                    one = held.enter_context(socket.socket())
                    one.setblocking(False)
                    one.connect_ex(("127.0.0.1", port))
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as http:
                    assert http.get("/v2", headers=headers).status_code == 200
        finally:
            process.kill()
