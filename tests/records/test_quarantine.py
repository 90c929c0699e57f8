"""The quarantine: which inputs are kept, and what happens where they cannot be."""

from __future__ import annotations

import resource
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.verdicts import judged

from ce_detect.core.errors import UsageError
from ce_detect.records.kept import verdict
from ce_detect.records.quarantine import Quarantine
from ce_detect.records.settings import QuarantineSettings
from ce_detect.verdict.result import GateResult


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


def test_a_share_of_all_inputs_is_drawn(tmp_path: Path) -> None:
    """Whatever the verdict; the file says so, and which inputs were flagged."""
    quarantine = Quarantine(QuarantineSettings(folder=tmp_path, sample=0.3))
    for _ in range(20):
        quarantine.keep(judged(1))
        quarantine.keep([(job, replace(result, is_adversarial=np.zeros(40, bool))) for job, result in judged(40)])
        quarantine.close()
        quarantine = Quarantine(QuarantineSettings(folder=tmp_path, sample=0.3))  # or its queue would be full
    quarantine.close()
    told = [verdict(path) for path in tmp_path.iterdir()]
    flagged, passed = [one for one in told if one.flagged], [one for one in told if not one.flagged]
    assert len(flagged) == 20
    assert all(one.drawn for one in passed)
    assert 180 < len(passed) < 300  # of 800, five standard deviations on either side
    assert not all(one.drawn for one in flagged)


def test_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server stops in its own time, whether the queue is full or not."""
    go_on = threading.Event()
    monkeypatch.setattr(Quarantine, "_stored", lambda self, content: "stored" if go_on.wait(10) else "failed")
    few, many = (Quarantine(QuarantineSettings(folder=tmp_path)) for _ in range(2))
    few.keep(judged(3))
    for _ in range(100):
        many.keep(judged(3))
    assert not few.close(0.05)
    assert not many.close(0.05)
    go_on.set()
    assert many.close()


def test_a_share_that_is_none() -> None:
    """It is refused with what was expected."""
    with pytest.raises(UsageError, match="share from 0 to 1"):
        QuarantineSettings(folder=Path(), sample=2.0)
