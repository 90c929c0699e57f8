"""``ce-detect serve --supervised``: the death of its worker, its end, and a file that cannot be served."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from support import fused
from support.serving import INFER, PATIENCE, binary

BODY, HEADERS = binary(fused.images(8))


class Supervised:
    """The command in a process of its own, and what it logs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        said = json.loads(process.stdout.readline())
        self.url = f"http://{said['host']}:{said['port']}"
        self.messages: list[str] = []

    def until(self, message: str) -> str:
        """Read the log until a line holds this, and return that line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.messages.append(json.loads(line)["message"])
            if message in self.messages[-1]:
                return self.messages[-1]
        raise AssertionError(f"{message!r} was not said: {self.messages}")

    def worker(self) -> int:
        """Wait for the next worker, and return its process number."""
        return int(self.until(" starts").split()[1])


def command(*flags: object) -> list[str]:
    """The command line."""
    run = [sys.executable, "-c", "from ce_detect.cli import main; main()", "serve", "--supervised", "--port", "0"]
    return run + [str(flag) for flag in flags]


@contextlib.contextmanager
def supervised(folder: Path, *flags: object) -> Iterator[Supervised]:
    """Start it; `Supervised.until` says when it is ready."""
    run = command(fused.written(folder), "--json", "--audit", folder / "audit", "--grace", "0.2", *flags)
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Supervised(process)
        finally:
            process.kill()  # its worker ends with it


def audited(folder: Path) -> int:
    """Whole lines of the audit log."""
    return len([json.loads(line) for line in (folder / "audit").read_text().splitlines()])


def asking(http: httpx.Client) -> int:
    """Status of one request; 0 where its connection broke."""
    try:
        return http.post(INFER, content=BODY, headers=HEADERS).status_code
    except httpx.TransportError:
        return 0


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    """Under load: the address answers on, what was answered is audited; then SIGHUP reloads and SIGTERM drains."""
    statuses, stop = list[int](), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False, verify=False) as http:
            while not stop.is_set():
                statuses.append(asking(http))
                if statuses[-1] == 503:
                    time.sleep(0.02)

    def answered(count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while statuses.count(200) < count:
            assert time.monotonic() < deadline, statuses
            time.sleep(0.01)

    with supervised(tmp_path) as server:
        worker = server.worker()
        server.until("ready")
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            answered(20)
            os.kill(worker, signal.SIGKILL)
            assert server.until("SIGKILL") == f"worker {worker} ended with SIGKILL; another one starts"
            assert server.worker() != worker
            server.until("ready")
            answered(statuses.count(200) + 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE)
        server.process.send_signal(signal.SIGHUP)
        server.until("reloaded")
        server.process.send_signal(signal.SIGTERM)
        server.until("stopped")
        assert server.process.wait(PATIENCE) == 0
    assert set(statuses) <= {200, 503, 0}
    assert statuses.count(0) <= 4  # those the worker held when it died, and no connection was refused
    assert server.messages.index("draining") < server.messages.index("stopped")
    assert audited(tmp_path) >= 8 * statuses.count(200)


def test_worker_ends_with_its_supervisor(tmp_path: Path) -> None:
    """Nobody could stop a worker that outlived its supervisor, nor take its address: it drains and stops."""
    with supervised(tmp_path) as server:
        server.until("ready")
        server.process.kill()
        server.until("the supervisor is gone")
        server.until("stopped")


def test_file_that_cannot_be_loaded_ends_it(tmp_path: Path) -> None:
    """Without an end there would be a worker after a worker; it ends with the refusal, told once."""
    (tmp_path / "guard.onnx").write_bytes(b"no graph")
    done = subprocess.run(
        command(tmp_path / "guard.onnx"), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("not a whole ONNX file") == 1


def test_gives_up_where_no_worker_gets_ready() -> None:
    """Workers that die one after the other before they are ready end it, after pauses that grow, with exit code 1."""
    source = (
        "import os, signal, socket, sys\n"
        "from ce_detect.serve import supervisor\n"
        "supervisor.PAUSE = 0.001\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener:\n"
        "    code = supervisor.supervise(listener, lambda post: os.kill(os.getpid(), signal.SIGKILL))\n"
        "print([name for name in ('numpy', 'onnxruntime', 'uvicorn') if name in sys.modules])\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert done.stderr.count("ended with SIGKILL; another one starts") == 4
    assert "giving up" in done.stderr
