"""Consoles for tests: an application with a client, or a server in a thread."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient

from ce_detect.console.app import make_app
from ce_detect.console.connections import Limits
from ce_detect.console.console import Console
from ce_detect.console.server import ConsoleServer
from ce_detect.console.settings import ConsoleSettings
from ce_detect.records.importing import Intake
from ce_detect.records.store import Store
from ce_detect.runtime import Gate
from support import fused
from support.reviews import quarantined

URL = "http://localhost"


def gate(folder: Path) -> Gate:
    """A gate that flags bright images."""
    path = folder / "guard.onnx"
    return Gate(path if path.exists() else fused.write_graph(folder))


def filled(folder: Path, store: Store, count: int = 12) -> Path:
    """A quarantine with all of some inputs, drawn at random, and the store that has them."""
    quarantine = folder / "flagged"
    quarantined(quarantine, gate(folder), fused.images(count), sample=1.0)
    Intake(store, quarantine=quarantine).run()
    return quarantine


def client(store: Store, **settings: Any) -> TestClient:
    """A client of a console, as a browser on this machine is one."""
    app = make_app(Console(ConsoleSettings(**settings), store))
    return TestClient(app, base_url=URL, client=("127.0.0.1", 50000), follow_redirects=True)


def token(answer: httpx.Response) -> str:
    """The CSRF token of the forms on a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert found is not None, answer.text
    return found[1]


def post(http: TestClient, path: str, page: str = "/login", **data: Any) -> httpx.Response:
    """Send a form as a page does."""
    return http.post(path, data={"csrf": token(http.get(page)), **data})


@contextlib.contextmanager
def running(store: Store, *, limits: Limits | None = None, **settings: Any) -> Iterator[str]:
    """A console in a thread of this process; gives its address."""
    server = ConsoleServer(ConsoleSettings(**settings), store, port=0, limits=limits or Limits())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.address[1]}"
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()
