"""Whom a browser may carry a request for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support import fused
from support.serving import INFER, Watched, client, infer, plain, serving


def asked(http: httpx.Client, **headers: str) -> int:
    """Ask for a verdict with other headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(INFER, content=plain(fused.images(1)), headers=named).status_code


@pytest.fixture(scope="module")
def named(folder: Path) -> Iterator[Watched]:
    """A server with a name of its own."""
    with serving(folder, allowed_hosts=("guard.example",)) as running:
        yield running


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:80", "10.0.0.7", "a.localhost"])
def test_own_names(http: httpx.Client, host: str) -> None:
    """Addresses, and names of this machine."""
    assert asked(http, host=host) == 200
    assert asked(http, host=socket.gethostname()) == 200


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:80", "127.0.0.1.evil.com", "localhost.evil.com", "[", "2130706433"]
)
def test_other_names(http: httpx.Client, host: str) -> None:
    """Whoever comes by another name comes by DNS rebinding; probes tell nothing, so they may."""
    answer = http.get("/v2", headers={"host": host})
    assert (answer.status_code, list(answer.json())) == (421, ["error"])
    assert asked(http, host=host) == 421
    assert http.get("/metrics", headers={"host": host}).status_code == 421
    assert http.get("/v2/health/ready", headers={"host": host}).status_code == 200


def test_names_that_the_operator_allows(named: Watched, folder: Path) -> None:
    """One by one, or all of them; with a token, which no page knows, every name will do."""
    with client(named) as http:
        assert (asked(http, host="Guard.Example"), asked(http, host="evil.com")) == (200, 421)
        assert asked(http, host="localhost", origin="https://guard.example") == 200
    (folder / "token").write_text("s3cret")
    for settings in ({"allowed_hosts": ("*",)}, {"token_file": folder / "token"}):
        with serving(folder, **settings) as server, client(server) as http:
            assert asked(http, host="evil.com", origin="http://evil.com", authorization="Bearer s3cret") == 200


def test_pages_of_others(http: httpx.Client) -> None:
    """A browser says which page asks; a page of this server may."""
    for origin in ("http://evil.com", "null", "http://localhost:1", "nonsense"):
        assert asked(http, host="localhost:8000", origin=origin) == 403
    assert asked(http, host="localhost:8000", origin="http://localhost:8000") == 200


def test_content_types(http: httpx.Client) -> None:
    """Those that a page may send without asking first are no requests here."""
    for kind in ("text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = http.post(INFER, content=plain(fused.images(1)), headers={"content-type": kind})
        assert (answer.status_code, "expected application/json" in answer.json()["error"]) == (415, True)
    for kind in ("application/json", "application/json; charset=utf-8", "Application/Octet-Stream"):
        assert asked(http, content_type=kind) == 200
    assert infer(http, fused.images(1)).status_code == 200
