"""The console as a process: it listens, takes in what is new, and ends."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import consoles, fused, reviews
from support.reviews import quarantined
from support.serving import client, column, infer, sample, serving

from ce_detect.console.server import EVERY, ConsoleServer, taking_in
from ce_detect.console.settings import ConsoleSettings
from ce_detect.core.errors import UsageError
from ce_detect.records.filters import Filter
from ce_detect.records.importing import Intake
from ce_detect.records.settings import AuditSettings, QuarantineSettings
from ce_detect.records.store import Store

ALL = Filter(status="all")


def wait(store: Store, count: int) -> None:
    """Until so many inputs are there."""
    for _ in range(200):
        if store.count(ALL, "ada") == count:
            return
        time.sleep(0.05)
    raise AssertionError(store.count(ALL, "ada"))


def test_new_files_come_in_while_it_runs(tmp_path: Path, store: Store) -> None:
    """Those that were there, and those that a server writes later."""
    folder = consoles.filled(tmp_path, store, 3)
    with consoles.running(store, quarantine=folder) as url, httpx.Client(base_url=url, trust_env=False) as http:
        assert http.get("/alive").text == "alive"
        assert "Start reviewing" in http.get("/").text
        quarantined(folder, consoles.gate(tmp_path), fused.images(2, seed=1), sample=1.0)
        wait(store, 5)


def test_intake_goes_on_after_an_error(tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is away for a while is told, and read again once it is back."""
    folder = consoles.filled(tmp_path, store, 2)
    intake = Intake(store, audit=tmp_path / "guard.onnx")
    intake._audit = tmp_path / "away"
    with taking_in(intake, every=0.01):
        for _ in range(200):
            if "trying again" in caplog.text:
                break
            time.sleep(0.02)
        assert "trying again" in caplog.text
        (tmp_path / "away").write_text("")
    assert folder.exists()


def test_intake_goes_on_after_any_error(tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Also one that nobody thought of: the console would look well, and nothing new would ever come."""
    (tmp_path / "audit").write_text("")
    intake, rounds = Intake(store, audit=tmp_path / "audit"), threading.Semaphore(0)

    def run() -> int:
        rounds.release()
        raise MemoryError

    intake.run = run  # type: ignore[method-assign]
    with taking_in(intake, every=0.01):
        assert rounds.acquire(timeout=10)
        assert rounds.acquire(timeout=10)
    assert "trying again" in caplog.text


@pytest.mark.skipif(os.environ.get("CE_DETECT_OPT_IN") != "1", reason="starts a PostgreSQL: set CE_DETECT_OPT_IN=1")
def test_a_database_that_is_away_stops_no_answer_and_loses_nothing(tmp_path: Path) -> None:
    """The server answers and writes on, the console says so; once the database is back, all of it is there, once."""
    records: dict[str, Any] = {
        "audit": AuditSettings(path=tmp_path / "audit", most_bytes=20_000, keep=20),
        "quarantine": QuarantineSettings(folder=tmp_path / "flagged", most_bytes=100_000),
    }
    with reviews.database() as database, serving(tmp_path, **records) as server, client(server) as asking:
        store = Store(database.url)

        def ask(count: int, seed: int) -> int:
            answers = [infer(asking, x[None]) for x in fused.images(count, seed=seed)]
            return sum(column(answer, "is_adversarial")[0] for answer in answers)

        flagged = ask(40, 1)
        places = {"quarantine": tmp_path / "flagged", "audit": tmp_path / "audit"}
        with consoles.running(store, **places) as url, httpx.Client(base_url=url, trust_env=False) as http:
            wait(store, flagged)
            assert http.get("/").status_code == 200
            database.stop()
            flagged += ask(300, 2)
            assert http.get("/").status_code == 503
            time.sleep(2 * EVERY)  # the intake tries in vain meanwhile
            flagged += ask(40, 3)
            database.start()
            wait(store, flagged)
            assert http.get("/").status_code == 200
        assert sample(asking, "ce_detect_audit_lost_total") == 0
        kept = sample(asking, 'ce_detect_quarantined_total{outcome="stored"}')
        assert 0 < kept < flagged == store.count(ALL, "ada")  # the folder was full before, and lines tell of the rest
        assert sum(item.file is not None for item in store.items(ALL, "ada", most=1000)) == kept
        store.close()


def test_an_address_that_somebody_has(store: Store) -> None:
    """It is told with the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="--port"):
        ConsoleServer(ConsoleSettings(), store, port=taken.getsockname()[1])


def test_a_certificate_that_is_none(tmp_path: Path, store: Store) -> None:
    """It is named."""
    with pytest.raises(UsageError, match="nope"):
        ConsoleServer(ConsoleSettings(), store, port=0, certificate=tmp_path / "nope", key=tmp_path / "nope")
