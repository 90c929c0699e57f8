"""A restart forgets nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.streams import Source

from ce_detect.core.errors import ArtifactError
from ce_detect.monitor import Monitor
from ce_detect.monitor.monitor import MonitorSettings
from ce_detect.monitor.state import read, write


def test_a_restarted_monitor_goes_on_where_the_other_stopped(tmp_path: Path) -> None:
    """The evidence of every stream, the drift, and the reviews are as they were, and what follows is the same."""
    source = Source(0)
    first, second = Monitor(source.reference), Monitor(source.reference)
    for client in ("a", "b"):
        first.observe(source.verdicts(333, attacked=0.02), client)
    first.reviewed(3, 200)
    write(first, tmp_path / "state")
    assert read(second, tmp_path / "state")
    assert second.status() == first.status()
    more = source.verdicts(400, attacked=0.3)
    assert [alarm.plain() for alarm in second.observe(more, "a")] == [
        alarm.plain() for alarm in first.observe(more, "a")
    ]
    assert second.status() == first.status()


def test_another_reference_begins_anew(tmp_path: Path) -> None:
    """Evidence against other bounds says nothing; so after a new calibration."""
    first = Monitor(Source(0).reference)
    write(first, tmp_path / "state")
    assert not read(Monitor(Source(0, n=900).reference), tmp_path / "state")
    assert not read(Monitor(first.reference, MonitorSettings(form="ever", false_alarms=0.1)), tmp_path / "state")
    assert not read(Monitor(first.reference), tmp_path / "no such file")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """It says what to do; nothing in it is ever executed."""
    source = Source(0)
    path = tmp_path / "state"
    path.write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="remove it to begin anew"):
        read(Monitor(source.reference), path)
    write(Monitor(source.reference), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="begin anew"):
        read(Monitor(source.reference), path)
