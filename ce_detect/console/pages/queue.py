"""The queue: inputs of a filter, a page at a time."""

from __future__ import annotations

import math

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from ce_detect.console.console import Console
from ce_detect.core.errors import UsageError
from ce_detect.records import alarms, tallies
from ce_detect.records.filters import Filter
from ce_detect.records.store import PAGE

STATUSES = {
    "todo": "to do",
    "disagreed": "reviewers disagree",
    "attack": "attack",
    "benign": "benign",
    "unsure": "unsure",
    "all": "all",
}
KINDS = {"all": "all", "flagged": "flagged by the gate", "drawn": "drawn at random"}
ORDERS = {"p_value": "smallest p-value first", "newest": "newest first", "oldest": "oldest first"}


def shown(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """One page of the queue."""
    asked, behind = Filter.of(request.query_params), _behind(request)
    items = console.store.items(asked, reviewer, behind=behind, most=PAGE + 1)
    more = len(items) > PAGE
    items = items[:PAGE]
    further = {**asked.query(), "behind": f"{getattr(items[-1], asked.column)!r}:{items[-1].id}"} if more else None
    return console.page(
        request,
        "queue",
        asked=asked,
        query=asked.query(),
        items=items,
        count=console.store.count(asked, reviewer),
        further=further,
        begun=behind is not None,
        labels=tallies.labels(console.store),
        alarms=alarms.alarms(console.store),
        statuses=STATUSES,
        kinds=KINDS,
        orders=ORDERS,
    )


def _behind(request: Request) -> tuple[float, int] | None:
    text = request.query_params.get("behind")
    if not text:
        return None
    value, _, number = text.partition(":")
    try:
        place = float(value), int(number)
    except ValueError:
        raise UsageError("behind names no place in the queue; go back to its beginning") from None
    if not math.isfinite(place[0]) or not 0 <= place[1] < 1 << 31:
        raise UsageError("behind names no place in the queue; go back to its beginning")
    return place
