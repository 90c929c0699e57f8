"""Faults under load, with everything on that watches and writes down: what clients were told is never lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from support import fused
from support.serving import INFER, PATIENCE, binary, client, infer, process, sample, serving

from ce_detect.monitor import Monitor
from ce_detect.monitor import state as monitor_state
from ce_detect.records import alarms, kept
from ce_detect.records.filters import Filter
from ce_detect.records.importing import Intake
from ce_detect.records.settings import AuditSettings, QuarantineSettings
from ce_detect.records.store import Store
from ce_detect.serve.settings import WatchSettings

MANIFEST = {**fused.MANIFEST, "data": {"splits": {"calibrate": 600}}}
WAITING = 65
"""Inputs that wait for the quarantine, at most, and the one that is being written."""

CLIENTS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gate that says what it was calibrated on, and a place for the monitor's state."""
    (tmp_path / "guard.onnx").write_bytes(fused.graph(said=fused.metadata(MANIFEST)))
    (tmp_path / "state").mkdir()
    return tmp_path


def everything(folder: Path) -> tuple[object, ...]:
    """Options that switch on whatever watches or writes down."""
    return (
        "--monitor", "--client-header", "X-Client", "--monitor-state", folder / "state", "--audit", folder / "audit",
        "--quarantine", folder / "flagged", "--grace", "0",
    )  # fmt: skip


def natural(count: int, seed: int, brightest: float = 0.94) -> NDArray[np.float32]:
    """Inputs whose p-values are uniform, as those of clean ones are, but for the smallest; none is like another."""
    random = np.random.default_rng(seed)
    means = random.uniform(0.06, brightest, (count, 1, 1, 1))
    return np.asarray(random.random((count, *fused.SHAPE)) ** (1 / means - 1), np.float32)


class Crowd:
    """Clients that ask, each under a name of its own and with a number for each request, until the server is gone."""

    def __init__(self, url: str, requests: int, life: str) -> None:
        self.given: dict[str, list[bool]] = {}
        self._address = urlsplit(url).netloc
        self._threads = [
            threading.Thread(target=self._ask, args=(f"{life}-{name}", requests // CLIENTS)) for name in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self, answers: int) -> None:
        """Until so many were given."""
        until = time.monotonic() + 6 * PATIENCE
        while len(self.given) < answers and time.monotonic() < until:
            time.sleep(0.001)
        assert len(self.given) >= answers

    def join(self) -> None:
        """Until all have asked, or given up."""
        for thread in self._threads:
            thread.join(6 * PATIENCE)
            assert not thread.is_alive()

    def _ask(self, name: str, requests: int) -> None:
        x = natural(64, sum(name.encode()), brightest=0.5)  # some are flagged, by a little
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=PATIENCE)) as connection:
            for number in range(requests):
                try:
                    self._once(connection, x[number % 64 : number % 64 + 1], name, f"{name}-{number}")
                except (OSError, http.client.HTTPException):
                    return

    def _once(self, connection: http.client.HTTPConnection, x: NDArray[np.float32], name: str, id: str) -> None:
        body, headers = binary(x)
        length = int(headers["Inference-Header-Content-Length"])
        head = json.dumps({"id": id, **json.loads(body[:length])}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head)), "X-Client": name}
        connection.request("POST", INFER, head + body[length:], headers)
        answer = json.loads(connection.getresponse().read())
        self.given[id] = next(one["data"] for one in answer["outputs"] if one["name"] == "is_adversarial")


def logged(folder: Path) -> dict[str, list[bool]]:
    """Verdicts by request, as the audit log has them; a torn line at the end is none."""
    found: dict[str, list[bool]] = {}
    for line in (folder / "audit").read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n") and "score" in (read := json.loads(line)):
            found.setdefault(read["id"], []).append(read["is_adversarial"])
    return found


def watched(folder: Path) -> int:
    """Inputs that the monitor's state on disk knows of."""
    monitor = Monitor.of(MANIFEST)
    assert monitor_state.read(monitor, folder / "state" / "monitor")
    return int(monitor.status()["inputs"])


@pytest.mark.parametrize("requests", [1600, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_kill_in_the_middle_of_many_requests(folder: Path, requests: int) -> None:
    """Whatever was answered is in the audit log, in full; nothing is torn, and the next life goes on from there.

    Of flagged inputs those that waited for the quarantine may have no file. The state is that of a moment before.
    """
    with process(folder, *everything(folder)) as (server, url):
        before = Crowd(url, 80, "before")
        before.join()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    assert watched(folder) == len(before.given) == 80
    with process(folder, *everything(folder)) as (server, url):
        crowd = Crowd(url, requests, "killed")
        crowd.wait(requests // 2)
        server.kill()
        server.wait(PATIENCE)
        crowd.join()
    assert requests // 2 <= len(crowd.given) < requests
    known = watched(folder)
    found = logged(folder)
    assert found.items() >= (before.given | crowd.given).items()
    assert 80 <= known <= len(found)
    flagged = Counter(id for id, verdicts in found.items() if any(verdicts))
    files = [kept.verdict(path) for path in (folder / "flagged").glob("[0-9]*.npz")]
    assert {file.request for file in files} <= set(flagged)
    assert len(flagged) - len(files) <= WAITING
    with process(folder, *everything(folder)) as (server, url):
        behind = Crowd(url, 80, "behind")
        behind.join()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    assert logged(folder).items() >= (found | behind.given).items()
    assert watched(folder) == known + 80


def test_a_clock_that_jumps_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a day, between two requests: verdicts, files, evidence and reviews are as if it had not."""
    moved = [0.0]
    clock, nanoseconds = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: clock() - moved[0])
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() - int(moved[0] * 1e9))
    watch = WatchSettings(client_header="X-Client", queries=False, state=folder / "state")
    records: dict[str, Any] = {
        "audit": AuditSettings(path=folder / "audit"),
        "quarantine": QuarantineSettings(folder=folder / "flagged"),
    }
    store = Store(f"sqlite:///{folder / 'reviews.db'}")
    with serving(folder, watch=watch, **records) as server, client(server, headers={"X-Client": "eve"}) as asking:
        intake = Intake(store, quarantine=folder / "flagged", audit=folder / "audit")
        for number, jump in enumerate((0.0, 86_400.0, 10.0)):
            moved[0] = jump
            bright = 0.99 + 0.01 * np.random.default_rng(number).random((6, *fused.SHAPE), np.float32)
            assert infer(asking, bright).status_code == 200
            until = time.monotonic() + PATIENCE
            while sample(asking, 'ce_detect_quarantined_total{outcome="stored"}') < 6 * number + 6:
                assert time.monotonic() < until
            intake.run()
    intake.run()
    assert len((folder / "audit").read_text().splitlines()) > 18
    assert len(list((folder / "flagged").iterdir())) == 18
    items = store.items(Filter(status="all"), "ada")
    assert [(item.file is not None, item.client) for item in items] == [(True, "eve")] * 18
    assert {(alarm.scope, alarm.name) for alarm in alarms.alarms(store)} >= {("client", "eve")}
    store.close()
    assert watched(folder) == 18


def resident(process: subprocess.Popen[str]) -> int:
    """MiB of memory in use."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def flooded(url: str, first: int, count: int) -> None:
    """Natural inputs, each from a client of its own."""
    part = count // CLIENTS
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda number: _flooded(url, first + number * part, part), range(CLIENTS)))


def _flooded(url: str, first: int, count: int) -> None:
    """The same on one connection: a hundred requests are sent before their answers are read."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as connection:
        answers = connection.makefile("rb")
        for start in range(first, first + count, 100):
            connection.sendall(b"".join(requests_of(natural(100, start), start)))
            for _ in range(100):
                assert answers.readline().startswith(b"HTTP/1.1 200")
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answers.read(length)


def requests_of(x: NDArray[np.float32], first: int) -> Iterator[bytes]:
    """Requests of one input each, under names that nobody had before."""
    for number, one in enumerate(x, first):
        body, headers = binary(one[None])
        said = {**headers, "Host": "localhost", "Content-Length": str(len(body)), "X-Client": f"name {number}"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        yield f"POST {INFER} HTTP/1.1\r\n{lines}\r\n".encode() + body


@pytest.mark.slow
def test_a_hundred_thousand_clients(folder: Path) -> None:
    """Memory is bounded, and a flood of fresh names flushes neither trace of an attacker: he is told of afterwards.

    One client sends some suspicious inputs, another one some near-copies, both fewer than an alarm needs. Then come
    100,000 others, ten for each place. Then they go on where they stopped.
    """
    bright = 0.999 * np.ones((3, *fused.SHAPE), np.float32)
    random = np.random.default_rng(7)
    steps = np.float32(random.random(fused.SHAPE) + random.normal(0, 0.005, (12, *fused.SHAPE))).clip(0, 1)
    told = 'ce_detect_alarms_total{{kind="{}",scope="client"}}'
    watched = (
        "--monitor",
        "--client-header",
        "X-Client",
        "--audit",
        folder / "audit",
        "--grace",
        "0",
    )
    with process(folder, *watched) as (server, url):
        threading.Thread(target=lambda: [None for _ in server.stderr or ()], daemon=True).start()
        with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, verify=False) as asking:

            def ask(name: str, x: NDArray[np.float32]) -> None:
                body, headers = binary(x)
                assert asking.post(INFER, content=body, headers={**headers, "X-Client": name}).status_code == 200

            ask("campaigner", bright)
            for step in steps[:6]:
                ask("searcher", step[None])
            flooded(url, 0, 20_000)  # all places are taken, and all hashes
            memory = resident(server)
            flooded(url, 20_000, 80_000)
            assert resident(server) < memory + 16
            assert sample(asking, "ce_detect_monitor_lost") == 0
            assert sample(asking, told.format("campaign")) == sample(asking, told.format("queries")) == 0
            ask("campaigner", bright)
            for step in steps[6:12]:
                ask("searcher", step[None])
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    said = [json.loads(line)["alarm"] for line in (folder / "audit").read_text().splitlines() if '"alarm"' in line]
    assert {(alarm["kind"], alarm["name"]) for alarm in said if alarm["scope"] == "client"} == {
        ("campaign", "campaigner"), ("queries", "searcher"),
    }  # fmt: skip
