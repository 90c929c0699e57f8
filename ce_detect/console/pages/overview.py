"""Alarms with their history, and what the reviews add up to."""

from __future__ import annotations

import numpy as np
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from ce_detect.console.console import Console
from ce_detect.records import alarms as history
from ce_detect.records import tallies
from ce_detect.records.rows import VERDICTS


def alarms(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """All alarms, the newest first."""
    return console.page(request, "alarms", alarms=history.alarms(console.store))


def counters(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """Inputs by outcome, decisions by reviewer, and how many clean inputs were flagged among those drawn at random."""
    drawn = tallies.drawn(console.store)
    clean = drawn.outcome == "benign"
    return console.page(
        request,
        "counters",
        counts=tallies.counters(console.store),
        outcomes=(*VERDICTS, tallies.OPEN),
        clean=int(np.count_nonzero(clean)),
        flagged=int(np.count_nonzero(drawn.flagged & clean)),
    )
