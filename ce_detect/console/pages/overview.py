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
    """Inputs by outcome, decisions by reviewer, and how many clean inputs were flagged among those drawn at random.

    The queue begins with the most suspicious, so most that are settled first are flagged: the share among them says
    little while others are open. What it may become is told: the open ones that passed are clean and the flagged ones
    attacks, or the other way round.
    """
    drawn = tallies.drawn(console.store)
    clean, settled = drawn.outcome == "benign", np.isin(drawn.outcome, ("benign", "attack"))
    known, flagged = int(np.count_nonzero(clean)), int(np.count_nonzero(drawn.flagged & clean))
    passed, suspicious = (int(np.count_nonzero(~settled & one)) for one in (~drawn.flagged, drawn.flagged))
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
    )
