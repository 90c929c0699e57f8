"""Servers of fused graphs that fit in a test, on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from ce_detect.serve.server import Server
from ce_detect.serve.settings import Limits, Settings
from support import fused

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing here takes that long."""


class Watched(Server):
    """A server that says when loading is over."""

    def __init__(self, settings: Settings, **where: Any) -> None:
        self.settled = threading.Event()
        super().__init__(settings, port=0, **where)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.address
        return f"http{'s' if self.config.ssl else ''}://{host}:{port}"

    def _loaded(self) -> None:
        super()._loaded()
        self.settled.set()


def limits(**changed: Any) -> Limits:
    """Limits for a test: no grace at the end."""
    return Limits(**{"grace_seconds": 0.0, "delay": 0.0, **changed})


@contextmanager
def serving(
    folder: Path, *, settle: bool = True, where: dict[str, Any] | None = None, **settings: Any
) -> Iterator[Watched]:
    """Serve a fused graph from a thread of this process until the block ends."""
    path = folder / "guard.onnx"
    if not path.exists():
        fused.write_graph(folder)
    server = Watched(Settings(artifact=path, **{"limits": limits(), **settings}), **(where or {}))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.serve_forever()
        except BaseException as error:  # noqa: BLE001  told to the test below
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        if settle:
            assert server.settled.wait(PATIENCE)
            assert server.service.failure is None, server.service.failure
        yield server
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not failed, failed


@contextmanager
def client(server: Watched, **settings: Any) -> Iterator[httpx.Client]:
    """A client of that server; without TLS there is nothing to verify, and certificates take long to load."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False, **{"verify": False, **settings}) as made:
        yield made


def binary(x: NDArray[Any], **changed: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request in the binary form; ``changed`` replaces parts of its only input."""
    tensor = {
        "name": "input", "shape": list(x.shape), "datatype": "UINT8" if x.dtype == np.uint8 else "FP32",
        "parameters": {"binary_data_size": x.nbytes}, **changed,
    }  # fmt: skip
    head = msgspec.json.encode({"inputs": [tensor]})
    return head + x.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def plain(x: NDArray[Any], **more: Any) -> bytes:
    """The body of a request in JSON."""
    tensor = {"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    return msgspec.json.encode({"inputs": [tensor], **more})


INFER = "/v2/models/guard/infer"


def infer(http: httpx.Client, x: NDArray[Any]) -> httpx.Response:
    """Ask for verdicts."""
    body, headers = binary(x)
    return http.post(INFER, content=body, headers=headers)


def column(answer: httpx.Response, name: str) -> list[Any]:
    """One output of an answer in JSON."""
    assert answer.status_code == 200, answer.text
    return next(output["data"] for output in answer.json()["outputs"] if output["name"] == name)


def connected(server: Watched) -> socket.socket:
    """A bare connection."""
    return socket.create_connection(server.address, timeout=PATIENCE)


def received(connection: socket.socket) -> bytes:
    """All that the server sends until it closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"")
    return b"".join(parts)


def sample(http: httpx.Client, name: str) -> float:
    """A figure at ``/metrics``; 0 where it is not there yet."""
    for line in http.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    return 0.0


@contextmanager
def process(folder: Path, *flags: object, message: str = "ready") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``ce-detect serve`` in a process of its own, once it has said something; and its address."""
    guard = folder / "guard.onnx"
    if not guard.exists():
        fused.write_graph(folder)
    run = [sys.executable, "-c", "from ce_detect.cli import main; main()", "serve", guard, "--port", "0", "--json"]
    with subprocess.Popen(
        [str(part) for part in (*run, *flags)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            said = json.loads(started.stdout.readline())
            assert started.stderr is not None
            for line in started.stderr:
                if json.loads(line)["message"] == message:
                    break
            yield started, f"http://{said['host']}:{said['port']}"
        finally:
            if started.poll() is None:
                started.kill()
