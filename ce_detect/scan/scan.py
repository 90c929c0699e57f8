"""Verdicts on every image of a source, kept as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import compute, parquet

from ce_detect.core.errors import ArtifactError
from ce_detect.core.types import Progress
from ce_detect.core.version import VERSION
from ce_detect.monitor import Monitor
from ce_detect.runtime import Gate
from ce_detect.scan.checkpoints import Checkpoints, encoded
from ce_detect.scan.sources import Source
from ce_detect.scan.verdicts import judged
from ce_detect.verdict.result import GateResult

WATCHED = ("label", "p_value", "is_adversarial")
"""Columns that the monitor looks at."""

Engine = Callable[[Iterable[tuple[int, int, int]]], Iterable[tuple[int, bytes]]]
"""From number, first position and end of parts to number and content of each, in any order."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished scan found.

    Attributes:
        inputs: in all.
        passed: judged and not flagged.
        adversarial: flagged.
        errors: not judged.
        first_error: of one that was not judged, with its name.
        flag_rate: share of the judged that is flagged; None where none was judged.
        resumed: inputs whose verdicts were already there.
        alarms: what the monitor says of all inputs in their order; empty also where the gate does not say what its
            promise rests on.
    """

    inputs: int
    passed: int
    adversarial: int
    errors: int
    first_error: str | None
    flag_rate: float | None
    resumed: int
    alarms: tuple[str, ...] = ()


def checkpoints_of(gate: Gate, source: Source, out: Path) -> Checkpoints:
    """The place of the verdicts, whose identity is all that they depend on.

    Raises:
        UsageError: see `ce_detect.scan.checkpoints.Checkpoints`.
    """
    identity = {"guard": gate.fingerprint, "threshold": gate.threshold, "data": source.fingerprint}
    return Checkpoints(out, identity, len(source))


def local_engine(gate: Gate, source: Source) -> Engine:
    """Judge in this process, one part after the other."""

    def engine(parts: Iterable[tuple[int, int, int]]) -> Iterable[tuple[int, bytes]]:
        return ((part, encoded(judged(gate, source, start, stop))) for part, start, stop in parts)

    return engine


def scan(
    gate: Gate,
    source: Source,
    checkpoints: Checkpoints,
    engine: Engine,
    progress: Progress | None = None,
    *,
    watched: bool = True,
) -> Summary:
    """Judge what is missing and finish the table.

    Args:
        gate: its manifest goes into the table.
        source: images.
        checkpoints: where verdicts are kept, see `checkpoints_of`.
        engine: judges parts.
        progress: see `Progress`.
        watched: whether the monitor looks at the verdicts; not where they are of another threshold than the calibrated.

    Raises:
        UsageError: the verdicts cannot be written; what is done stays.
        InputError: a file that holds many images cannot be read; what is done stays.
    """
    report = progress or (lambda *_: None)
    resumed = done = checkpoints.done()
    report("scan", done, len(source))
    for part, content in engine([(part, *checkpoints.span(part)) for part in checkpoints.missing()]):
        checkpoints.write(part, content)
        start, stop = checkpoints.span(part)
        done += stop - start
        report("scan", done, len(source))
    checkpoints.finish(
        {
            "ce_detect.guard": gate.fingerprint,
            "ce_detect.manifest": json.dumps(gate.manifest, sort_keys=True),
            "ce_detect.version": VERSION,
        }
    )
    return _summary(checkpoints.out, resumed, _monitor(gate) if watched else None)


def _monitor(gate: Gate) -> Monitor | None:
    try:
        return Monitor.of(gate.manifest)
    except ArtifactError:  # nothing is promised that could be broken
        return None


def _alarms(monitor: Monitor, batch: Any) -> list[str]:
    judged = batch.filter(batch.column("is_adversarial").is_valid())
    columns = {name: judged.column(name).to_numpy(zero_copy_only=False) for name in WATCHED}
    nan = np.full(len(judged), np.nan)
    result = GateResult(logits=nan, score=nan, probability=nan, threshold=np.nan, **columns)
    return [alarm.text for alarm in monitor.observe(result)]


def _summary(table: Path, resumed: int, monitor: Monitor | None) -> Summary:
    alarms: list[str] = []
    counts, first = {True: 0, False: 0, None: 0}, None
    with parquet.ParquetFile(table, pre_buffer=False) as file:
        for batch in file.iter_batches(columns=["name", "error", *WATCHED]):
            names, verdicts, errors = (batch.column(name) for name in ("name", "is_adversarial", "error"))
            if monitor is not None:
                alarms += _alarms(monitor, batch)
            for found in compute.value_counts(verdicts).to_pylist():
                counts[found["values"]] += found["counts"]
            if first is None and errors.null_count < len(errors):
                at = compute.index(errors.is_valid(), True).as_py()
                first = f"{names[at]}: {errors[at]}"
    judged_ones = counts[True] + counts[False]
    return Summary(
        inputs=judged_ones + counts[None], passed=counts[False], adversarial=counts[True], errors=counts[None],
        first_error=first, flag_rate=counts[True] / judged_ones if judged_ones else None, resumed=resumed,
        alarms=tuple(alarms),
    )  # fmt: skip
