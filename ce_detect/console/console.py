"""What all pages share: the store, the pictures, the explanations, and how a page is filled in."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ce_detect.console import pictures
from ce_detect.console.access import csrf
from ce_detect.console.settings import ConsoleSettings, Explained, Explainer
from ce_detect.core.errors import InputError
from ce_detect.core.types import Floats
from ce_detect.core.version import VERSION
from ce_detect.records import kept
from ce_detect.records.rows import Item
from ce_detect.records.store import Store

HERE = Path(__file__).parent

MOST_EXPLAINED = 256
"""Explanations that are kept."""

MOST_WAITING = 16
"""Requests that wait for an explanation; a server has some 40 threads for all pages."""

FRAGMENT = "x-fragment"
"""Header by which a page's own script asks for a part of a page."""

T = TypeVar("T")


class Console:
    """A store of reviews, and what is known about its inputs.

    Attributes:
        settings: of the console.
        store: of the reviews.

    Args:
        settings: see there.
        store: see there.
    """

    def __init__(self, settings: ConsoleSettings, store: Store) -> None:
        self.settings, self.store = settings, store
        self._explained: OrderedDict[str, Explained] = OrderedDict()
        self._explaining, self._waiting = threading.Lock(), threading.BoundedSemaphore(MOST_WAITING)
        self._pages = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._pages.filters |= {"moment": _moment, "query": urlencode, "figure": _figure}
        self._pages.globals |= {"version": VERSION}

    def page(self, request: Request, name: str, *, status: int = 200, **values: Any) -> Response:
        """Fill in a page, or the part of it that its script asks for."""
        fragment = request.headers.get(FRAGMENT) == "1"
        told = {
            "reviewer": request.scope.get("reviewer"), "csrf": csrf(request), "path": request.url.path,
            "console": self, "layout": "fragment.html.j2" if fragment else "base.html.j2", **values,
        }  # fmt: skip
        return HTMLResponse(self._pages.get_template(f"{name}.html.j2").render(told), status, {"vary": FRAGMENT})

    def item(self, request: Request) -> Item:
        """The input that an address names.

        Raises:
            HTTPException: there is none of that number.
        """
        number = str(request.path_params["number"])
        found = self.store.item(int(number)) if re.fullmatch("[0-9]{1,9}", number) else None
        if found is None:
            raise HTTPException(404, f"There is no input {number[:20]}.")
        return found

    def pixels(self, item: Item) -> Floats | None:
        """Its picture ``(channels, height, width)`` in [0, 1]; None where there is none, or no more."""
        folder = self.settings.quarantine
        if folder is None or item.file is None or not self.is_kept(item):
            return None
        try:
            return pictures.unit(kept.pixels(folder / item.file), self.settings.bounds)
        except InputError:
            return None

    def is_kept(self, item: Item) -> bool:
        """Whether its file is one of the quarantine's, and not elsewhere."""
        folder = self.settings.quarantine
        return (
            folder is not None
            and item.file is not None
            and ((folder / item.file).resolve().is_relative_to(folder.resolve()))
        )

    def explained(self, key: str, pixels: Callable[[], Floats]) -> Explained | None:
        """Why an input was judged as it was; None where nothing can tell. Made once, one at a time.

        Args:
            key: of the input.
            pixels: gives its picture.

        Raises:
            HTTPException: many wait for one already; other pages need the threads that would wait, too.
        """
        if self.settings.explainer is None:
            return None
        if not self._waiting.acquire(blocking=False):
            raise HTTPException(503, "Many explanations are being made. Try again in a moment.", {"retry-after": "5"})
        try:
            return self._explained_in_turn(self.settings.explainer, key, pixels)
        finally:
            self._waiting.release()

    def _explained_in_turn(self, explainer: Explainer, key: str, pixels: Callable[[], Floats]) -> Explained:
        with self._explaining:
            if key not in self._explained:
                self._explained[key] = explainer(pixels())
                if len(self._explained) > MOST_EXPLAINED:
                    self._explained.popitem(last=False)
            self._explained.move_to_end(key)
            return self._explained[key]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def back(path: str, query: dict[str, str]) -> RedirectResponse:
    """Go on to a page of ours, after a form."""
    return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, 303)
