"""Alarms with their history, and what the reviews add up to."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from ce_detect.console.console import Console
from ce_detect.monitor.interval import BLOCK, FalseAlarmRate
from ce_detect.records import alarms as history
from ce_detect.records import tallies
from ce_detect.records.rows import VERDICTS, Drawn


def alarms(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """All alarms, the newest first."""
    return console.page(request, "alarms", alarms=history.alarms(console.store))


def counters(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """Inputs by outcome, decisions by reviewer, and how many clean inputs were flagged among those drawn at random.

    The queue begins with the most suspicious, so most that are settled first are flagged: the share among them says
    little while others are open. What it may become is told: the open ones that passed are clean and the flagged ones
    attacks, or the other way round. Of the latest, an interval says what the rate is now, see `FalseAlarmRate`.
    """
    drawn = tallies.drawn(console.store)
    known, flagged, passed, suspicious = _counted(drawn)
    gate = console.settings.gate
    latest = _latest(drawn, None if gate is None else gate.threshold)
    now, hits, open_now, doubted = _counted(latest)
    return console.page(
        request,
        "counters",
        counts=tallies.counters(console.store),
        outcomes=(*VERDICTS, tallies.OPEN),
        clean=known,
        flagged=flagged,
        unsettled=passed + suspicious,
        least=flagged / max(1, known + passed),
        most=(flagged + suspicious) / max(1, known + suspicious),
        latest=len(latest.score),
        low=FalseAlarmRate(flagged=hits, clean=now + open_now).interval[0],
        high=FalseAlarmRate(flagged=hits + doubted, clean=now + doubted).interval[1],
        promise=None if gate is None else float(gate.manifest["fpr"]),
    )


def _latest(drawn: Drawn, threshold: float | None) -> Drawn:
    """Those of this block or of the one before, see `FalseAlarmRate`; where it is known, of this threshold alone."""
    own = np.ones(len(drawn.score), bool)
    if threshold is not None:
        own = np.isnan(drawn.threshold) | (drawn.threshold.astype(np.float32) == np.float32(threshold))
    places = np.flatnonzero(own)
    last = len(places) - len(places) % BLOCK
    places = places[max(0, last if 2 * (len(places) - last) >= BLOCK else last - BLOCK) :]
    return Drawn(*(getattr(drawn, one.name)[places] for one in fields(drawn)))


def _counted(drawn: Drawn) -> tuple[int, int, int, int]:
    """Clean inputs, those of them that are flagged, open ones that passed, and open ones that did not."""
    outcome, suspicious = drawn.outcome, drawn.flagged
    clean, settled = outcome == "benign", np.isin(outcome, ("benign", "attack"))
    parts = clean, suspicious & clean, ~settled & ~suspicious, ~settled & suspicious
    known, flagged, passed, doubted = (int(np.count_nonzero(part)) for part in parts)
    return known, flagged, passed, doubted
