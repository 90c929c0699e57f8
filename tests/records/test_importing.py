"""What the store takes in: files as they come, lines of the log, each input once."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sqlalchemy as sql
from support.verdicts import judged

from ce_detect.core.errors import UsageError
from ce_detect.monitor.alarms import Alarm
from ce_detect.records import alarms, kept, tallies
from ce_detect.records.audit import AuditLog
from ce_detect.records.filters import Filter
from ce_detect.records.importing import Intake
from ce_detect.records.quarantine import Quarantine
from ce_detect.records.record import Job
from ce_detect.records.rows import Item
from ce_detect.records.settings import AuditSettings, QuarantineSettings
from ce_detect.records.store import Store
from ce_detect.verdict.result import GateResult

ALL = Filter(status="all", order="oldest")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """An empty store."""
    made = Store(f"sqlite:///{tmp_path / 'reviews.db'}")
    yield made
    made.close()


def passed(count: int) -> list[tuple[Job, GateResult]]:
    """Verdicts on inputs that are not flagged."""
    return [(job, replace(result, is_adversarial=np.zeros(count, bool))) for job, result in judged(count)]


def fill(folder: Path, count: int = 3, **settings: Any) -> None:
    """Let a server keep some inputs."""
    quarantine = Quarantine(QuarantineSettings(folder=folder, **settings))
    quarantine.keep(passed(count) if settings else judged(count))
    quarantine.close()


def items(store: Store) -> list[Item]:
    """All that is there."""
    return store.items(ALL, "ada")


def test_new_files_as_they_come(tmp_path: Path, store: Store) -> None:
    """Again and again, each once, also after a restart, and from a folder for each server."""
    folder = tmp_path / "flagged"
    fill(folder)
    intake = Intake(store, quarantine=folder)
    assert (intake.run(), intake.run()) == (3, 0)
    fill(folder / "second", 2)
    assert Intake(store, quarantine=folder).run() == 2
    assert intake.run() == 0
    found = items(store)
    assert {item.file for item in found} == {path.relative_to(folder).as_posix() for path in folder.rglob("*.npz")}
    assert {(item.score, item.request, item.threshold, item.flagged, item.drawn) for item in found} == {
        (2.0, "mine", 1.0, True, False)
    }
    assert abs(found[0].time - (folder / str(found[0].file)).stat().st_mtime) < 5


def test_a_clock_that_jumps_while_a_request_is_judged(tmp_path: Path, store: Store, monkeypatch: Any) -> None:
    """Line and file say when the request came, so that both are known to be of one input."""
    folder, log = tmp_path / "flagged", tmp_path / "audit.jsonl"
    batch = judged(2)
    for hours in (5, -5):
        moment = time.time() + hours * 3600
        with monkeypatch.context() as jumped:
            jumped.setattr(time, "time", lambda moment=moment: moment)
            jumped.setattr(time, "time_ns", lambda moment=moment: int(moment * 1e9))
            if hours > 0:
                audit = AuditLog(AuditSettings(path=log))
                audit.write(batch, "a" * 64)
                audit.close()
            else:
                quarantine = Quarantine(QuarantineSettings(folder=folder))
                quarantine.keep(batch)
                quarantine.close()
    assert Intake(store, quarantine=folder, audit=log).run() == 2
    assert [item.time for item in items(store)] == [batch[0][0].received] * 2


def test_file_without_a_moment(tmp_path: Path, store: Store) -> None:
    """Older versions said it in the name only; a moment that is none makes the file unreadable."""
    folder = tmp_path / "flagged"
    fill(folder, 2)
    files = sorted(folder.glob("*.npz"))
    for path, moment in zip(files, (None, np.nan), strict=True):
        with np.load(path) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files if name != "time"}
        np.savez(path, **arrays if moment is None else arrays | {"time": moment})
    intake = Intake(store, quarantine=folder)
    assert (intake.run(), intake.unreadable) == (1, 1)
    assert items(store)[0].time == int(files[0].stem.split("-")[0]) / 1e9


def test_what_was_drawn_at_random(tmp_path: Path, store: Store) -> None:
    """The store knows which inputs were, and whether the gate flagged them."""
    fill(tmp_path / "flagged", 20, sample=1.0)
    Intake(store, quarantine=tmp_path / "flagged").run()
    drawn = tallies.drawn(store)
    assert (len(drawn.score), drawn.flagged.sum(), set(drawn.outcome)) == (20, 0, {""})
    assert len(tallies.drawn(store, since=items(store)[0].time + 1e6).score) == 0
    assert len(tallies.drawn(store, until=items(store)[0].time - 1).score) == 0


def test_a_broken_file_is_told_once(tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The others are taken."""
    folder = tmp_path / "flagged"
    fill(folder)
    (folder / "1-1.npz").write_text("not mine")
    intake = Intake(store, quarantine=folder)
    assert (intake.run(), intake.run(), intake.unreadable) == (3, 0, 1)
    assert caplog.text.count("no file of a quarantine") == 1


def test_a_file_that_is_mended_is_taken(tmp_path: Path, store: Store) -> None:
    """One that could not be read is tried again when it has changed, without a restart, and is unreadable no more."""
    folder = tmp_path / "flagged"
    fill(folder)
    path = sorted(folder.glob("*.npz"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    intake = Intake(store, quarantine=folder)
    assert (intake.run(), intake.unreadable) == (2, 1)
    path.write_bytes(whole)
    assert (intake.run(), intake.unreadable) == (1, 0)
    assert intake.run() == 0


def test_a_file_that_is_completed_while_it_is_read(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, as its state is that of before the read; one that is taken away is unreadable no more."""
    folder = tmp_path / "flagged"
    fill(folder)
    path = sorted(folder.glob("*.npz"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    read = kept.verdict

    def verdict(one: Path) -> Any:
        try:
            return read(one)
        finally:
            path.write_bytes(whole)

    intake = Intake(store, quarantine=folder)
    with monkeypatch.context() as patched:
        patched.setattr(kept, "verdict", verdict)
        assert (intake.run(), intake.unreadable) == (2, 1)
    assert (intake.run(), intake.unreadable) == (1, 0)
    (folder / "1-1.npz").write_text("not mine")
    assert (intake.run(), intake.unreadable) == (0, 1)
    (folder / "1-1.npz").unlink()
    assert (intake.run(), intake.unreadable) == (0, 0)


def test_lines_of_the_log(tmp_path: Path, store: Store) -> None:
    """Flagged inputs without a file are rows without a picture; a clean one is none; a half line waits."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditSettings(path=path))
    log.write([*judged(2), *passed(3)], "f" * 64)
    log.close()
    intake = Intake(store, audit=path)
    assert (intake.run(), intake.run(), Intake(store, audit=path).run()) == (2, 0, 0)
    assert {(item.file, item.request, item.label) for item in items(store)} == {(None, "mine", 0), (None, "mine", 1)}
    line = path.read_bytes().splitlines(keepends=True)[0].replace(b'"mine"', b'"yours"')
    path.write_bytes(path.read_bytes() + b"{broken}\n" + line[:20])
    assert (intake.run(), intake.unreadable) == (0, 1)
    path.write_bytes(path.read_bytes() + line[20:])
    assert intake.run() == 1
    path.write_bytes(line.replace(b"yours", b"theirs")[:-1] + b"\n")  # a new file took its place
    assert intake.run() == 1


def test_a_line_and_a_file_are_one_input(tmp_path: Path, store: Store) -> None:
    """Whichever comes first: files of older versions get their threshold from the log."""
    folder, path = tmp_path / "flagged", tmp_path / "audit.jsonl"
    folder.mkdir()
    (job, result), *_ = judged(1)
    old = {"x": job.x[0], "logits": result.logits[0], "score": result.score[0], "p_value": result.p_value[0]}
    log = AuditLog(AuditSettings(path=path))
    log.write([(job, result)], "f" * 64)
    log.close()
    moment = json.loads(path.read_text())["time"]
    name = f"{int(moment * 1e9)}-0.npz"
    intake = Intake(store, quarantine=folder, audit=path)
    assert intake.run() == 1
    np.savez(folder / name, **old, id="mine")
    assert intake.run() == 0
    (item,) = items(store)
    assert (item.file, item.threshold) == (name, 1.0)
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    assert Intake(other, quarantine=folder).run() == 1
    assert Intake(other, quarantine=folder, audit=path).run() == 0
    (item,) = items(other)
    assert (item.file, item.threshold) == (name, 1.0)
    other.close()


def test_alarms_in_the_log(tmp_path: Path, store: Store) -> None:
    """As a server writes them; one that was read twice is one alarm, and a line that is none is told."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditSettings(path=path))
    log.alarm(Alarm("campaign", "client", "eve", 9, "many").plain(), "f" * 64)
    log.close()
    moment = json.loads(path.read_text())["time"]
    with path.open("a") as file:
        file.write(json.dumps({"time": 1.0, "alarm": {}}) + "\n")
    for _ in range(2):
        intake = Intake(store, audit=path)
        intake.run()
        assert intake.unreadable == 1
    (alarm,) = alarms.alarms(store)
    assert (alarm.kind, alarm.scope, alarm.name, alarm.time, alarm.text) == (
        "campaign", "client", "eve", moment, "many",
    )  # fmt: skip


def test_a_log_that_is_rotated_between_two_looks(tmp_path: Path, store: Store) -> None:
    """No line is lost: what was added to the old file comes first."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditSettings(path=path, most_bytes=1))
    log.write(judged(1), "a" * 64)
    intake = Intake(store, audit=path)
    assert intake.run() == 1
    with path.open("ab") as file:  # before the log looks at its size
        file.write(path.read_bytes().replace(b"aaa", b"bbb"))
    log.write(judged(1), "c" * 64)
    log.close()
    assert path.with_name("audit.jsonl.1").exists()
    assert (intake.run(), intake.run()) == (2, 0)


def test_a_log_that_was_rotated_many_times(tmp_path: Path, store: Store) -> None:
    """While no console ran, and between two looks: every file that is left is read, each line once."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditSettings(path=path, most_bytes=1, keep=12))
    for number in range(6):
        log.write(judged(1), f"{number:064}")
    intake = Intake(store, audit=path)
    assert intake.run() == 6
    for number in range(6, 11):
        log.write(judged(1), f"{number:064}")
    log.close()
    assert (intake.run(), intake.run()) == (5, 0)
    assert Intake(store, audit=path).run() == 0


def test_a_store_that_is_away_loses_no_line(tmp_path: Path, store: Store) -> None:
    """What was read while it could not be written is read again: inputs and alarms, each once."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditSettings(path=path, most_bytes=100_000))
    intake = Intake(store, audit=path)

    def more(first: int) -> None:
        for number in range(first, first + 600):
            log.write(judged(1), f"{number:064}")
        log.alarm(Alarm("campaign", "client", f"eve {first}", first, "many").plain(), "a" * 64)

    more(0)
    assert intake.run() == 600
    more(600)
    with store.engine.begin() as connection:
        connection.execute(sql.text("ALTER TABLE inputs RENAME TO away"))
    for _ in range(3):
        with pytest.raises(sql.exc.SQLAlchemyError):
            intake.run()
    more(1200)
    with store.engine.begin() as connection:
        connection.execute(sql.text("ALTER TABLE away RENAME TO inputs"))
    assert (intake.run(), intake.run()) == (1200, 0)
    assert store.count(ALL, "ada") == 1800
    assert {alarm.name for alarm in alarms.alarms(store)} == {"eve 0", "eve 600", "eve 1200"}
    log.close()


def test_one_odd_input_holds_up_no_other(tmp_path: Path, store: Store) -> None:
    """A score that is NaN, a request that PostgreSQL would refuse, and a file name that no database takes."""
    folder = tmp_path / "flagged"
    quarantine = Quarantine(QuarantineSettings(folder=folder))
    (job, result), *_ = judged(1)
    quarantine.keep([(Job(job.x, "a\0b"), result), (job, replace(result, score=np.float32([np.nan])))])
    quarantine.close()
    fill(folder)
    content = next(folder.glob("*-1.npz")).read_bytes()
    (folder / os.fsdecode(b"\xff.npz")).write_bytes(content)
    deep = folder / "/".join(["d" * 200] * 2)
    deep.mkdir(parents=True)
    (deep / "1.npz").write_bytes(content)
    intake = Intake(store, quarantine=folder)
    assert (intake.run(), intake.unreadable) == (5, 2)
    assert sorted(item.score for item in items(store)) == [2.0, 2.0, 2.0, 2.0, np.inf]
    assert "a\N{REPLACEMENT CHARACTER}b" in {item.request for item in items(store)}


@pytest.mark.parametrize(
    "odd",
    [
        {"time": 1e300}, {"time": -1.0}, {"label": 1 << 40}, {"p_value": 2.0}, {"index": -1}, {"client": "c" * 201},
        {"id": "i" * 257}, {"alarm": {"kind": "drift", "scope": "s" * 41, "name": "", "text": ""}},
        {"alarm": {"kind": "drift"}},
    ],
)  # fmt: skip
def test_a_line_that_no_database_takes(tmp_path: Path, store: Store, odd: dict[str, Any]) -> None:
    """It is left out and counted; a time a thousand years on would break every page that shows it."""
    line = {"time": 1e9, "score": 2.0, "p_value": 0.1, "is_adversarial": True, "label": 1}
    log = tmp_path / "audit"
    log.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in ({**line, **odd}, line)))
    intake = Intake(store, audit=log)
    assert (intake.run(), intake.unreadable) == (1, 1)


def test_a_flagged_input_without_a_score(tmp_path: Path, store: Store) -> None:
    """The gate gave NaN, which is null in JSON: a reviewer sees it all the same, as from a file."""
    log = tmp_path / "audit"
    log.write_text('{"time": 1e9, "score": null, "p_value": 0.01, "is_adversarial": true, "label": -1}\n')
    assert Intake(store, audit=log).run() == 1
    assert [item.score for item in items(store)] == [np.inf]


def test_nothing_to_read(tmp_path: Path, store: Store) -> None:
    """A folder that is not there is told at the start."""
    with pytest.raises(UsageError, match="nowhere"):
        Intake(store, quarantine=tmp_path / "nowhere")
