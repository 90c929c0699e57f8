"""The audit log, the quarantine and the metrics: what is written, and what happens where it cannot be."""

from __future__ import annotations

import json
import logging
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ce_detect.core.errors import UsageError
from ce_detect.records.audit import AuditLog
from ce_detect.records.quarantine import Quarantine
from ce_detect.records.record import Job
from ce_detect.records.settings import AuditSettings, QuarantineSettings
from ce_detect.serve.logs import Seldom, json_lines
from ce_detect.serve.metrics import Distribution
from ce_detect.verdict.result import GateResult

ARTIFACT = "a" * 64


def judged(count: int, *, id: str | None = "mine", flagged: bool = True) -> list[tuple[Job, GateResult]]:
    """One request with its verdicts; the probability is NaN, as that of a clean-only detector."""
    x = np.random.default_rng(0).random((count, 3, 4, 5), np.float32)
    score = np.full(count, 2, np.float32)
    none = np.full(count, np.nan, np.float32)
    logits = np.zeros((count, 2), np.float32)
    return [(Job(x, id), GateResult(logits, np.arange(count), score, score / 10, none, score > 1 - flagged, 1.0))]


def lines(path: Path) -> list[Any]:
    """Every line, parsed."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def log(path: Path, **settings: Any) -> Iterator[AuditLog]:
    """An audit log that is closed at the end."""
    opened = AuditLog(AuditSettings(path=path, **settings))
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("fsync", ["never", "batch"])
def test_a_line_a_verdict(tmp_path: Path, fsync: Any) -> None:
    """Each line says what was answered about which input of which request, by which artifact."""
    with log(tmp_path / "audit", fsync=fsync) as audit:
        assert audit.write(judged(2), ARTIFACT) == 0
    first, second = lines(tmp_path / "audit")
    assert {name: second[name] for name in ("id", "index", "label", "score", "is_adversarial", "artifact")} == {
        "id": "mine", "index": 1, "label": 1, "score": 2.0, "is_adversarial": True, "artifact": ARTIFACT,
    }  # fmt: skip
    assert (first["probability"], first["threshold"], first["index"]) == (None, 1.0, 0)
    assert (tmp_path / "audit").stat().st_mode & 0o077 == 0


def test_what_clients_say_stays_in_its_line(tmp_path: Path) -> None:
    """An id cannot forge another line."""
    with log(tmp_path / "audit") as audit:
        audit.write(judged(1, id='x"}\n{"forged": true}\u2028'), ARTIFACT)
    (line,) = (json.loads(text) for text in (tmp_path / "audit").read_bytes().split(b"\n")[:-1])
    assert line["id"] == 'x"}\n{"forged": true}\u2028'


def test_rotation_by_size(tmp_path: Path) -> None:
    """A full file steps back; the oldest falls off; no line is lost or torn on the way."""
    with log(tmp_path / "audit", most_bytes=1000, keep=2) as audit:
        for i in range(20):
            audit.write(judged(1, id=str(i)), ARTIFACT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit", "audit.1", "audit.2"]
    kept = [line["id"] for name in ("audit.2", "audit.1", "audit") for line in lines(tmp_path / name)]
    assert kept == [str(i) for i in range(20 - len(kept), 20)]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_rotation_that_keeps_nothing(tmp_path: Path) -> None:
    """With no old files the log begins anew."""
    with log(tmp_path / "audit", most_bytes=500, keep=0) as audit:
        for i in range(9):
            audit.write(judged(1, id=str(i)), ARTIFACT)
    assert [path.name for path in tmp_path.iterdir()] == ["audit"]
    assert lines(tmp_path / "audit")[-1]["id"] == "8"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_device_that_is_full(caplog: pytest.LogCaptureFixture) -> None:
    """Lost lines are counted and told once; nothing is raised."""
    with log(Path("/dev/full")) as audit:
        assert audit.write(judged(3), ARTIFACT) == 3
        assert audit.write(judged(2), ARTIFACT) == 2
        assert audit.lost == 5
    assert [record.getMessage() for record in caplog.records] == [
        "audit log /dev/full cannot be written, verdicts go unlogged: No space left on device"
    ]


def test_disk_that_is_full_for_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit leaves no torn line, and logging goes on when there is room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with log(tmp_path / "audit") as audit:
        audit.write(judged(1, id="before"), ARTIFACT)
        size = (tmp_path / "audit").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, hard))
        try:
            assert audit.write(judged(2, id="lost"), ARTIFACT) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "audit").stat().st_size == size
        audit.write(judged(1, id="after"), ARTIFACT)
    assert [line["id"] for line in lines(tmp_path / "audit")] == ["before", "after"]
    assert "2 lines were lost" in caplog.records[-1].getMessage()


def test_rotation_that_fails(tmp_path: Path) -> None:
    """What could not be logged meanwhile is counted, and the log goes on once the way is free."""
    (tmp_path / "audit.1").mkdir()
    with log(tmp_path / "audit", most_bytes=300, keep=1) as audit:
        lost = [audit.write(judged(1, id=str(i)), ARTIFACT) for i in range(4)]
        (tmp_path / "audit.1").rmdir()
        lost.append(audit.write(judged(1, id="4"), ARTIFACT))
    assert lost == [0, 1, 1, 1, 0]
    assert [line["id"] for name in ("audit.1", "audit") for line in lines(tmp_path / name)] == ["0", "4"]


def test_torn_line_of_a_process_that_died(tmp_path: Path) -> None:
    """Half a line at the end is cut off, what is whole stays."""
    with log(tmp_path / "audit") as audit:
        audit.write(judged(2), ARTIFACT)
    with (tmp_path / "audit").open("ab") as file:
        file.write(b'{"time": 17')
    with log(tmp_path / "audit") as audit:
        audit.write(judged(1, id="new"), ARTIFACT)
    assert [line["id"] for line in lines(tmp_path / "audit")] == ["mine", "mine", "new"]


def test_audit_log_that_cannot_be(tmp_path: Path) -> None:
    """A place where no file can be is refused at the start."""
    with pytest.raises(UsageError, match="cannot be opened"):
        AuditLog(AuditSettings(path=tmp_path))


def kept(folder: Path, told: Any = lambda outcome: None, batches: int = 1, **settings: Any) -> None:
    """Put flagged inputs into a quarantine, a few at a time."""
    quarantine = Quarantine(QuarantineSettings(folder=folder, **settings), told)
    for _ in range(batches):
        quarantine.keep(judged(2))
    quarantine.close()


def test_flagged_inputs_are_kept(tmp_path: Path) -> None:
    """Each flagged input is a file with what the gate saw and said; loading it executes nothing."""
    kept(tmp_path / "new" / "folder")
    files = sorted((tmp_path / "new" / "folder").iterdir(), key=lambda path: int(path.stem.rpartition("-")[2]))
    assert len(files) == 2
    with np.load(files[1], allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["x"], judged(2)[0][0].x[1])
        assert (float(stored["score"]), str(stored["id"])) == (2.0, "mine")
        assert stored["logits"].shape == (2,)


def test_clean_inputs_are_not_kept(tmp_path: Path) -> None:
    """Only flagged ones are."""
    quarantine = Quarantine(QuarantineSettings(folder=tmp_path))
    clean = judged(2)
    quarantine.keep([(clean[0][0], GateResult(*[np.zeros(2)] * 5, np.zeros(2, bool), 1.0))])
    quarantine.close()
    assert list(tmp_path.iterdir()) == []


def test_quarantine_has_a_size(tmp_path: Path) -> None:
    """A full folder keeps what it has, also over a restart; what finds no room is counted."""
    told: Counter[str] = Counter()
    for _ in range(2):
        kept(tmp_path, lambda outcome: told.update([outcome]), batches=5, most_bytes=5000)
    assert told["stored"] == len(list(tmp_path.iterdir())) > 0
    assert told["stored"] + told["full"] == 20
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5000


def test_quarantine_on_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written is counted, leaves nothing half-written, and the rest goes on."""
    told: list[str] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        kept(tmp_path, told.append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told == ["failed", "failed"]
    assert list(tmp_path.iterdir()) == []
    assert "cannot be written" in caplog.text


def test_quarantine_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder should be is refused at the start."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be used"):
        Quarantine(QuarantineSettings(folder=tmp_path / "file"))


def test_logs_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A record is an object on one line, with its exception."""
    logger = logging.getLogger("ce_detect.serve")
    with json_lines():
        logger.warning("pixels of %s\n", 0)
        logger.error("failed", exc_info=ValueError("why"))
        logger.info("ready", extra={"artifact": {"threshold": "1"}})
    logger.warning("elsewhere")
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [(line["level"], line["message"]) for line in told[:3]] == [
        ("warning", "pixels of 0\n"), ("error", "failed"), ("info", "ready"),
    ]  # fmt: skip
    assert "ValueError: why" in told[1]["exception"]
    assert told[2]["artifact"] == {"threshold": "1"}


def test_a_flood_of_warnings_is_one_line_a_second() -> None:
    """Warnings from one place are thinned out; those from another, and what is no warning, are not."""

    def through(created: float, lineno: int = 1, levelno: int = logging.WARNING) -> bool:
        return seldom.filter(logging.makeLogRecord({"created": created, "lineno": lineno, "levelno": levelno}))

    seldom = Seldom()
    assert [through(when) for when in (10.0, 10.2, 10.9, 11.1, 11.2)] == [True, False, False, True, False]
    assert through(11.3, lineno=2)
    assert [through(11.3, levelno=logging.INFO) for _ in range(2)] == [True, True]


def test_distribution_counts_as_prometheus_does() -> None:
    """A value belongs to every bucket whose bound it does not exceed; NaN to the last."""
    registry = CollectorRegistry()
    distribution = Distribution("d", "help", [-2, 0, 1], registry)
    distribution.observe(np.float32([-1, 0, 0.5, 1, 2, np.nan]))
    distribution.observe(np.float32([0.25]))
    text = generate_latest(registry).decode()
    for line in (
        'd_bucket{le="0"} 2.0',
        'd_bucket{le="1"} 5.0',
        'd_bucket{le="+Inf"} 7.0',
        "d_count 7.0",
        "d_sum 2.75",
    ):
        assert line in text
