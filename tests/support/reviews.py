"""Stores of reviews, quarantines and databases for tests of the console."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from numpy.typing import NDArray

from ce_detect.artifacts.file import Artifact
from ce_detect.records.filters import Filter
from ce_detect.records.quarantine import Quarantine
from ce_detect.records.record import Job
from ce_detect.records.rows import Row
from ce_detect.records.settings import QuarantineSettings
from ce_detect.records.store import Store
from ce_detect.runtime import Gate
from ce_detect.verdict import conformal

NOBODY = 65534
"""PostgreSQL refuses to run as root."""


def row(number: int) -> Row:
    """An input of a store, another one for each number."""
    return Row(
        source=f"{number}.npz", time=1e9 + number, score=float(number % 5), p_value=1 / (number + 2), flagged=True,
        label=number % 10, client=f"client {number % 3}",
    )  # fmt: skip


def quarantined(folder: Path, gate: Gate, x: NDArray[np.float32], *, sample: float = 0.0) -> None:
    """Judge inputs, each as a request of its own, and keep them as a server does."""
    quarantine = Quarantine(QuarantineSettings(folder=folder, sample=sample))
    for number, one in enumerate(x):
        result = gate(one[None])
        quarantine.keep([(Job(one[None], f"request {number}", client=f"client {number % 3}"), result)])
        if number % 32 == 31:
            quarantine.close()
            quarantine = Quarantine(QuarantineSettings(folder=folder, sample=sample))
    quarantine.close()


def reviewed(url: str, guard: Path, *, open_: tuple[int, ...] = ()) -> None:
    """A store of 100 inputs that this detector judged, drawn at random, and of 20 that were flagged.

    All are reviewed and benign, but for some that stay open.
    """
    clean = Artifact.load(guard).tensors["clean_scores"]
    scores = np.random.default_rng(0).normal(clean.mean(), clean.std(), 120).astype(np.float32)
    p_values = conformal.p_values(clean, scores)
    store = Store(url)
    store.add(
        Row(source=f"{i}", time=1e9 + i, score=float(scores[i]), p_value=p_values[i], flagged=i >= 100, drawn=i < 100)
        for i in range(120)
    )
    for item in store.items(Filter(status="all"), "ada", most=200):
        if int(item.source) not in open_:
            store.decide(item.id, "ada", "benign")
    store.close()


class Database:
    """A PostgreSQL server in a folder of its own, run as a user who is nobody.

    Attributes:
        url: of a database in it.
    """

    def __init__(self, programs: Path, data: Path) -> None:
        self._programs, self._data, self._user = programs, data, NOBODY if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(data, self._user, self._user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://reviewer@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "-D", str(data / "base"), "-U", "reviewer", "--auth=trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Let it answer."""
        settings = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run(
            "pg_ctl", "-D", str(self._data / "base"), "-w", "-l", str(self._data / "log"), "-o", settings, "start"
        )

    def stop(self) -> None:
        """Take it away, as a crash does."""
        self._run("pg_ctl", "-D", str(self._data / "base"), "-m", "immediate", "stop")

    def _run(self, *command: str) -> None:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self._data)}
        subprocess.run(
            [str(self._programs / command[0]), *command[1:]], check=True, user=self._user, group=self._user,
            cwd=self._data, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=60,
        )  # fmt: skip


@contextmanager
def database() -> Iterator[Database]:
    """A PostgreSQL server that may be stopped and started."""
    pytest.importorskip("psycopg", reason="pip install psycopg[binary]")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "").parent]
    if not (found[-1] / "initdb").exists():
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    data = Path(mkdtemp(prefix="ce-detect-postgres-"))
    made = Database(found[-1], data)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(data)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server; gives the address of a database."""
    with database() as made:
        yield made.url
