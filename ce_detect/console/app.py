"""The routes of the console: who may pass, which forms are ours, and which page answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import sqlalchemy
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ce_detect.console.access import SESSION, is_ours
from ce_detect.console.console import HERE, Console
from ce_detect.console.defence import Defence
from ce_detect.console.pages import export, item, overview, queue, trial
from ce_detect.core.errors import CeDetectError

logger = logging.getLogger("ce_detect.console")

Handler = Callable[[Console, Request, str, FormData], Response]
"""Answers a request of a reviewer; runs in a thread of its own."""

_FIELD = 64 * 1024
_ROOM = 64 * 1024  # for the fields beside an upload


def make_app(console: Console) -> Starlette:
    """The console as an ASGI application."""
    pages: dict[str, tuple[str, Handler]] = {
        "/": ("GET", queue.shown),
        "/items/{number}": ("GET", item.shown),
        "/items/{number}/why": ("GET", item.why),
        "/items/{number}/{picture:str}.png": ("GET", item.picture),
        "/items/{number}/decide": ("POST", item.decided),
        "/undo": ("POST", item.undone),
        "/alarms": ("GET", overview.alarms),
        "/counters": ("GET", overview.counters),
        "/export": ("GET", export.shown),
        "/export/{name:str}": ("GET", export.sent),
        "/try": ("GET", trial.shown),
        "/try/upload": ("POST", trial.uploaded),
        "/try/{key:str}/picture.png": ("GET", trial.picture),
        "/try/{key:str}": ("GET", trial.judged),
    }
    routes: list[Any] = [
        Route(path, _answering(console, handler), methods=[method]) for path, (method, handler) in pages.items()
    ]
    routes += [
        Route("/login", _login(console), methods=["GET", "POST"]),
        Route("/logout", _logout, methods=["POST"]),
        Route("/alive", _alive),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    settings = console.settings
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(Defence, most=settings.upload + _ROOM),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False),
            Middleware(
                SessionMiddleware, secret_key=settings.access.secret, session_cookie="ce_detect_console",
                max_age=SESSION, same_site="strict", https_only=settings.secure,
            ),
        ],
        exception_handlers=_refusals(console),
    )  # fmt: skip


def _answering(console: Console, handler: Handler) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        reviewer = console.settings.access.reviewer(request)
        if reviewer is None:
            if request.method == "GET" and console.settings.access.tokens:
                return RedirectResponse("/login", 303)
            raise HTTPException(401, "Log in first.")
        request.scope["reviewer"] = reviewer
        form = await _form(request) if request.method == "POST" else FormData()
        try:
            return await run_in_threadpool(handler, console, request, reviewer, form)
        finally:
            await form.close()

    return answer


async def _form(request: Request) -> FormData:
    """A form that one of our pages sent.

    Raises:
        HTTPException: it is not.
    """
    form = await request.form(max_files=1, max_fields=20, max_part_size=_FIELD)
    if not is_ours(request, form.get("csrf")):
        await form.close()
        raise HTTPException(403, "The form is not from this session. Go back, load the page again, and send it anew.")
    return form


def _login(console: Console) -> Callable[[Request], Any]:
    async def login(request: Request) -> Response:
        if not console.settings.access.tokens:
            return RedirectResponse("/", 303)
        if request.method == "GET":
            return console.page(request, "login", told=None)
        form = await _form(request)
        name = console.settings.access.of_token(str(form.get("token", "")).strip())
        if name is None:
            logger.warning("a login with a wrong token")
            return console.page(request, "login", told="That is no token of this console.", status=401)
        request.session.clear()
        request.session["reviewer"] = name
        return RedirectResponse("/", 303)

    return login


async def _logout(request: Request) -> Response:
    await _form(request)
    request.session.clear()
    return RedirectResponse("/login", 303)


async def _alive(request: Request) -> Response:
    return PlainTextResponse("alive")


def _refusals(console: Console) -> dict[Any, Any]:
    """Pages for what cannot be done, by the type of the error."""

    def refused(request: Request, status: int, told: str) -> Response:
        if "session" not in request.scope:
            return PlainTextResponse(told, status)
        return console.page(request, "error", status=status, told=told)

    async def http(request: Request, error: HTTPException) -> Response:
        answer = refused(request, error.status_code, error.detail)
        answer.headers.update(error.headers or {})
        return answer

    async def ours(request: Request, error: CeDetectError) -> Response:
        return refused(request, 400, str(error))

    async def database(request: Request, error: sqlalchemy.exc.DBAPIError) -> Response:
        logger.error("the store cannot be asked: %s", error.orig)
        return refused(request, 503, "The store cannot be reached. Nothing was changed; try again in a moment.")

    return {HTTPException: http, CeDetectError: ours, sqlalchemy.exc.DBAPIError: database}
