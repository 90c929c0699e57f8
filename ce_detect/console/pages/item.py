"""One input: its picture, why it was judged so, what others said, and the decision."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ce_detect.console import pictures
from ce_detect.console.console import Console, back
from ce_detect.console.settings import Explained
from ce_detect.core.errors import UsageError
from ce_detect.core.types import Floats
from ce_detect.records.filters import Filter
from ce_detect.records.rows import VERDICTS, Item

NOTE = 4000
"""Characters of a note, at most."""

_KEPT = {"cache-control": "private, max-age=3600"}


def shown(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """The page of an input."""
    item, asked = console.item(request), Filter.of(request.query_params)
    told = console.store.decisions(item.id)
    mine = [one for one in told if one.reviewer == reviewer and one.undone is None]
    hidden = console.store.reviewers > 1 and item.outcome is None and not mine
    return console.page(
        request,
        "item",
        item=item,
        query=asked.query(),
        next=console.store.beside(asked, reviewer, item),
        previous=console.store.beside(asked, reviewer, item, backwards=True),
        count=console.store.count(asked, reviewer),
        decisions=[one for one in told if one.reviewer == reviewer] if hidden else told,
        mine=mine[-1] if mine else None,
        hidden=hidden,
        pictured=console.pixels(item) is not None,
        explainable=console.settings.explainer is not None,
        neighboured=console.settings.clean is not None,
    )


def why(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """What carried the score, and maps: on a page of its own, or as the part that the script puts into the page."""
    item = console.item(request)
    found = _explained(console, item)
    maps = [] if found is None else list(found.maps)
    neighboured = console.settings.clean is not None
    return console.page(request, "why", item=item, found=found, maps=maps, neighboured=neighboured)


def picture(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """A picture: ``image``, ``neighbour``, ``map-0`` or ``neighbour-map-0`` and so on."""
    item, name = console.item(request), request.path_params["picture"]
    pixels = console.pixels(item)
    if pixels is None:
        raise HTTPException(404, "There is no picture of this input.")
    key, neighbour = str(item.id), name.startswith("neighbour")
    if neighbour:
        if console.settings.clean is None:
            raise HTTPException(404, "No clean images were given: start the console with --clean.")
        pixels, key = console.settings.clean.nearest(pixels), f"{item.id}-neighbour"
    kind = name.removeprefix("neighbour").removeprefix("-")
    if kind in ("", "image"):
        return Response(pictures.png(pixels), media_type="image/png", headers=_KEPT)
    found = console.explained(key, lambda: pixels)
    place = kind.removeprefix("map-")
    maps = [] if found is None else list(found.maps.values())
    if not kind.startswith("map-") or place not in map(str, range(len(maps))):
        raise HTTPException(404, "There is no such picture.")
    return Response(pictures.with_map(pixels, maps[int(place)]), media_type="image/png", headers=_KEPT)


def decided(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """Write down a decision, and go on to the next input."""
    item, asked = console.item(request), Filter.of(request.query_params)
    verdict = next((one for one in VERDICTS if one == form.get("verdict")), None)
    if verdict is None:
        raise UsageError(f"expected a verdict, one of {', '.join(VERDICTS)}")
    note = str(form.get("note", "")).strip()
    if len(note) > NOTE:
        raise UsageError(f"the note has {len(note)} characters, at most {NOTE} are kept; shorten it")
    following = console.store.beside(asked, reviewer, item)
    console.store.decide(item.id, reviewer, verdict, note)
    return back("/" if following is None else f"/items/{following}", asked.query())


def undone(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """Take back the last decision, and go to its input."""
    asked, number = Filter.of(request.query_params), console.store.undo(reviewer)
    return back("/" if number is None else f"/items/{number}", asked.query())


def _explained(console: Console, item: Item) -> Explained | None:
    pixels = console.pixels(item)
    if pixels is None:
        return None

    def given() -> Floats:
        return pixels

    return console.explained(str(item.id), given)
