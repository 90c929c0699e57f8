"""A monitor's evidence as a file, so that a restart of the process forgets nothing: data, never code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ce_detect.core.errors import ArtifactError
from ce_detect.monitor.drift import BLOCK
from ce_detect.monitor.evidence import Evidence
from ce_detect.monitor.interval import FalseAlarmRate
from ce_detect.monitor.monitor import Expected, Monitor
from ce_detect.monitor.streams import Counts, Stream
from ce_detect.storage import atomic

_KEY = "ce_detect.monitor"


class _State(Struct, frozen=True):
    """What is not money in a monitor."""

    rates: list[float]
    hits: list[int]
    count: int
    form: str
    drift: tuple[int, int, list[bool]]
    false_alarm_rate: FalseAlarmRate
    streams: list[Counts]


def write(monitor: Monitor, path: Path) -> None:
    """Keep what a monitor knows; the old file stays until the new one is whole.

    Raises:
        OSError: the folder is not there or cannot be written, or the disk is full.
    """
    streams = list(_streams(monitor))
    expected, drift = monitor.expected, monitor.drift
    state = _State(
        rates=monitor.reference.rates.tolist(), hits=expected.hits.tolist(), count=expected.count,
        form=monitor.settings.form, drift=(drift.hits, drift.count, drift.block),
        false_alarm_rate=monitor.false_alarm_rate, streams=[one.counts(scope, name) for scope, name, one in streams],
    )  # fmt: skip
    arrays = {"drift": monitor.drift.evidence.money, "drift_seen": np.array([monitor.drift.evidence.seen])}
    for scope in {scope for scope, *_ in streams}:
        of_scope = [one for found, _, one in streams if found == scope]
        arrays[f"{scope} money"] = np.stack([one.evidence.money for one in of_scope])
        arrays[f"{scope} hits"] = np.stack([one.hits for one in of_scope])
    atomic.write(path, save(arrays, metadata={_KEY: msgspec.json.encode(state).decode()}))


def read(monitor: Monitor, path: Path) -> bool:
    """Let a new monitor go on where another one stopped.

    Returns:
        Whether there was a file of a monitor with the same reference; another reference, another promise: it is left.

    Raises:
        ArtifactError: the file is damaged.
    """
    if not path.exists():
        return False
    try:
        with safe_open(str(path), framework="numpy") as file:
            state = msgspec.json.decode((file.metadata() or {})[_KEY], type=_State)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, msgspec.MsgspecError, KeyError, OSError) as error:
        raise ArtifactError(f"{path} is no state of a monitor ({error}); remove it to begin anew") from error
    if state.rates != monitor.reference.rates.tolist() or state.form != monitor.settings.form:
        return False
    _check(monitor, state, arrays, path)
    rows = {scope: zip(arrays[f"{scope} money"], arrays[f"{scope} hits"], strict=True) for scope in _scopes(state)}
    monitor.expected = Expected(np.array(state.hits), state.count)
    monitor.drift.evidence = Evidence(monitor.drift.evidence.bets, arrays["drift"], int(arrays["drift_seen"][0]))
    monitor.drift.hits, monitor.drift.count, monitor.drift.block = state.drift
    monitor.false_alarm_rate = state.false_alarm_rate
    for counts in state.streams:
        _put(monitor, counts, *next(rows[counts.scope]))
    return True


def _put(monitor: Monitor, counts: Counts, money: Any, hits: Any) -> None:
    bets = monitor.bets(counts.scope, counts.name)
    if bets is None:  # a label that the new reference does not know
        return
    evidence = Evidence(bets, money.copy(), counts.seen, counts.waiting)
    stream = Stream.restored(evidence, monitor.settings.limit, counts, hits)
    if counts.scope == "overall":
        monitor.overall = stream
    else:
        (monitor.labels if counts.scope == "label" else monitor.clients).put(counts.name, stream)


def _streams(monitor: Monitor) -> Iterator[tuple[str, str, Stream]]:
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


def _scopes(state: _State) -> list[str]:
    return sorted({counts.scope for counts in state.streams})


def _check(monitor: Monitor, state: _State, arrays: dict[str, Any], path: Path) -> None:
    """Refuse what does not fit: sizes of a file that is torn, numbers that no monitor has."""
    if not _possible(state, len(monitor.reference.levels)):
        raise ArtifactError(f"{path}: impossible counts; remove the file to begin anew")
    shapes: dict[str, tuple[int, ...]] = {"drift": monitor.drift.evidence.money.shape, "drift_seen": (1,)}
    for scope in _scopes(state):
        streams = [counts for counts in state.streams if counts.scope == scope]
        bets = monitor.bets(scope, streams[0].name)
        if bets is not None:
            shapes[f"{scope} money"] = (len(streams), *bets.blank().shape)
            shapes[f"{scope} hits"] = (len(streams), len(bets.rates))
    for name, shape in shapes.items():
        found = arrays.get(name, np.zeros(0))
        if found.shape != shape or not np.isfinite(found).all() or (found < 0).any():
            raise ArtifactError(
                f"{path}: {name!r} has shape {found.shape} or impossible values, expected {shape}; remove the file to "
                "begin anew"
            )
