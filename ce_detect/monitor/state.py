"""What a monitor knows, as a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct

from ce_detect.core.errors import ArtifactError
from ce_detect.monitor import state_file
from ce_detect.monitor.drift import BLOCK
from ce_detect.monitor.evidence import Evidence
from ce_detect.monitor.interval import FalseAlarmRate
from ce_detect.monitor.monitor import Expected, Monitor
from ce_detect.monitor.state_file import Named
from ce_detect.monitor.streams import Counts


class _State(Struct, frozen=True):
    """What is no array."""

    rates: list[float]
    hits: list[int]
    count: int
    form: str
    drift: tuple[int, int, list[bool]]
    false_alarm_rate: FalseAlarmRate
    streams: list[Counts]


def write(monitor: Monitor, path: Path) -> None:
    """Keep what a monitor knows, see `ce_detect.monitor.state_file.write`."""
    expected, drift = monitor.expected, monitor.drift
    counts, arrays = state_file.columns(_streams(monitor))
    state = _State(
        rates=monitor.reference.rates.tolist(), hits=expected.hits.tolist(), count=expected.count,
        form=monitor.settings.form, drift=(drift.hits, drift.count, drift.block),
        false_alarm_rate=monitor.false_alarm_rate, streams=counts,
    )  # fmt: skip
    arrays |= {"drift": drift.evidence.money, "drift_seen": np.array([drift.evidence.seen])}
    state_file.write(path, state, arrays)


def read(monitor: Monitor, path: Path) -> bool:
    """Let a new monitor go on where another one stopped.

    Returns:
        Whether there was a file of a monitor with the same reference; another reference, another promise: it is left.

    Raises:
        ArtifactError: the file is damaged.
    """
    found = state_file.read(path, _State)
    if found is None:
        return False
    state, arrays = found
    if state.rates != monitor.reference.rates.tolist() or state.form != monitor.settings.form:
        return False
    if not _possible(state, len(monitor.reference.levels)):
        raise ArtifactError(f"{path}: impossible counts; remove the file to begin anew")
    bets = monitor.drift.evidence.bets
    money = state_file.checked(path, arrays, "drift", bets.blank().shape)
    seen = state_file.checked(path, arrays, "drift_seen", (1,))
    streams = list(state_file.streams(path, state.streams, arrays, monitor.bets, monitor.settings.limit))
    monitor.expected = Expected(np.array(state.hits), state.count)
    monitor.drift.evidence = Evidence(bets, money, int(seen[0]))
    monitor.drift.hits, monitor.drift.count, monitor.drift.block = state.drift
    monitor.false_alarm_rate = state.false_alarm_rate
    for scope, name, stream in streams:
        if scope == "overall":
            monitor.overall = stream
        else:
            (monitor.labels if scope == "label" else monitor.clients).put(name, stream)
    return True


def _streams(monitor: Monitor) -> Iterator[Named]:
    yield "overall", "", monitor.overall
    yield from (("label", name, stream) for name, stream in monitor.labels)
    yield from (("client", name, stream) for name, stream in monitor.clients)


def _possible(state: _State, levels: int) -> bool:
    hits, count, block = state.drift
    return (
        len(state.hits) == levels
        and 0 < min(state.hits) <= max(state.hits) <= state.count
        and 0 < hits < count
        and len(block) < BLOCK
    )
