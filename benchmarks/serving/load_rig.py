"""What `load` and `load_faults` are built on: a server in a process of its own, wrk, and requests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.runtime import Gate

PATH = "/v2/models/guard/infer"
SCRIPT = """
local file = io.open(os.getenv("WRK_BODY"), "rb")
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
wrk.headers["Inference-Header-Content-Length"] = os.getenv("WRK_HEADER_LENGTH")
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"refused":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99), latency.max,
    e.status, e.connect, e.read, e.write, e.timeout))
end
"""


class Load:
    """A graph, requests to it, and wrk."""

    def __init__(self, guard: Path, folder: Path, options: Any) -> None:
        self.guard, self.folder, self.options = guard, folder, options
        gate = Gate(guard)
        shape = gate.input_shape
        low, high = gate.bounds
        generator = np.random.default_rng(0)
        if gate.takes_uint8:
            size = (options.batch, *shape[1:], shape[0])
            self.inputs = generator.integers(0, 256, size, np.uint8)
        else:
            self.inputs = generator.uniform(low, high, (options.batch, *shape)).astype(np.float32)
        self.body, self.head = request(self.inputs[: options.images])
        (folder / "body").write_bytes(self.body)
        (folder / "wrk.lua").write_text(SCRIPT)

    def wrk(self, port: int, seconds: float, connections: int | None = None) -> dict[str, float]:
        """Drive the server; wrk times out after 30 s, later than the server does."""
        command = ["wrk", "-t1", f"-c{connections or self.options.connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "30s", "-s", str(self.folder / "wrk.lua"), f"http://127.0.0.1:{port}{PATH}"]
        env = {**os.environ, "WRK_BODY": str(self.folder / "body"), "WRK_HEADER_LENGTH": str(self.head)}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    @contextmanager
    def server(self, *flags: object) -> Iterator[Server]:
        """A server in a process of its own, ready."""
        options = self.options
        command = [sys.executable, "-c", "from ce_detect.cli import main; main()", "serve", self.guard, "--port", "0"]
        command += ["--json", "--batch", options.batch, "--threads", options.threads, "--log-level", "warning", *flags]
        with (
            (self.folder / "log").open("w") as log,
            subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            assert process.stdout is not None
            server = Server(process, json.loads(process.stdout.readline())["port"])
            try:
                server.wait_until_ready()
                yield server
            finally:
                if process.poll() is None:
                    process.terminate()


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def get(self, path: str) -> str:
        """Return a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def wait_until_ready(self) -> None:
        """Wait half a minute at most; a connection may break when the process behind it was killed just now."""
        for _ in range(600):
            try:
                self.get("/v2/health/ready")
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise SystemExit("the server did not become ready in 30 s")

    def ask(self, body: bytes, head: int | None) -> int:
        """Return the status of one request."""
        headers = {"content-type": "application/octet-stream"}
        if head is not None:
            headers["Inference-Header-Content-Length"] = str(head)
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{PATH}", body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)

    def too_large(self, size: int) -> int:
        """Return the status of a request whose body is too large: the answer comes before the body was sent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
            with contextlib.suppress(ConnectionError):  # the server may close before it has all of it
                connection.sendall(head.encode() + bytes(size))
            return int(connection.makefile("rb").readline().split()[1])

    def counted(self) -> dict[str, int]:
        """Requests by status."""
        found = re.findall(r'ce_detect_requests_total\{status="(\d+)"\} (\S+)', self.get("/metrics"))
        return {status: int(float(count)) for status, count in found}

    def figure(self, name: str) -> float:
        """Return a metric."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def settle(self) -> None:
        """Wait until what wrk left behind when its time was over is judged, half a minute at most."""
        before: dict[str, int] | None = None
        for _ in range(60):
            counted = self.counted()
            if counted == before and self.figure("ce_detect_queue_inputs") == 0:
                return
            before = counted
            time.sleep(0.5)

    def resident(self) -> int:
        """Bytes of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


def request(x: Any, **changed: Any) -> tuple[bytes, int]:
    """A request in the binary form, and the length of its header; ``changed`` replaces parts of its input."""
    kind = "UINT8" if x.dtype == np.uint8 else "FP32"
    tensor = {"name": "input", "shape": list(x.shape), "datatype": kind, "parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps(
        {"inputs": [{**tensor, **changed}], "parameters": {"binary_data_output": True}}, separators=(",", ":")
    ).encode()
    return head + x.tobytes(), len(head)


def driven(load: Load, server: Server, seconds: float) -> tuple[threading.Thread, list[dict[str, float]]]:
    """The load in a thread, and where its figures will be."""
    found: list[dict[str, float]] = []
    thread = threading.Thread(target=lambda: found.append(load.wrk(server.port, seconds)))
    thread.start()
    return thread, found
