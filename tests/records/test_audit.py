"""The audit log: what is written, and what happens where it cannot be."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.verdicts import judged

from ce_detect.core.errors import UsageError
from ce_detect.records.audit import AuditLog
from ce_detect.records.settings import AuditSettings

ARTIFACT = "a" * 64


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
