"""Routes of the Open Inference Protocol; the only place with ``async`` around the pure core."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ce_detect.core.errors import InputError
from ce_detect.core.version import VERSION
from ce_detect.records.record import Job
from ce_detect.serve import protocol
from ce_detect.serve.access import client_of
from ce_detect.serve.errors import DeadlineError, RequestError
from ce_detect.serve.metrics import CONTENT_TYPE
from ce_detect.serve.model import Model
from ce_detect.serve.responses import JSON, refused
from ce_detect.serve.service import MODEL_VERSION, Service
from ce_detect.serve.tracing import Tracing
from ce_detect.verdict.result import GateResult

logger = logging.getLogger("ce_detect.serve")

HEADER_LENGTH = "inference-header-content-length"
_OPENAPI = Path(__file__).with_name("openapi.json")
GONE = 499
"""Status that is counted, never sent, for a client that left."""


def make_app(
    service: Service, *, tracing: Tracing | None = None, loaded: Callable[[], None] = lambda: None
) -> Starlette:
    """Return the ASGI application.

    Args:
        service: the artifact and its records; loaded when the application starts, closed when it stops.
        tracing: where spans of requests and alarms go.
        loaded: called when loading is over, well or not.
    """
    routes = _Routes(service, tracing)
    if tracing is not None:
        service.trace_alarm = tracing.alarm
    model, version = "/v2/models/{name}", "/versions/{version}"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load())
        loading.add_done_callback(lambda task: None if task.cancelled() else loaded())
        yield
        loading.cancel()  # a graph whose warm-up does not end would keep the process for ever
        await asyncio.wait({loading})
        await service.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    return Starlette(
        routes=[
            # the first, as routes are tried in turn and this one is asked for most
            *(Route(f"{model}{part}/infer", routes.infer, methods=["POST"]) for part in ("", version)),
            Route("/v2", routes.server),
            Route("/v2/health/live", routes.live),
            Route("/v2/health/ready", routes.ready),
            *(Route(f"{model}{part}", routes.metadata) for part in ("", version)),
            *(Route(f"{model}{part}/ready", routes.model_ready) for part in ("", version)),
            Route("/v2/openapi.json", routes.openapi),
            Route("/metrics", routes.metrics),
        ],
        exception_handlers={RequestError: _refused, HTTPException: _http_error, Exception: _crashed},
        lifespan=lifespan,
    )


class _Routes:
    def __init__(self, service: Service, tracing: Tracing | None) -> None:
        self._service, self._tracing, self._limits = service, tracing, service.settings.limits
        self._decoders = asyncio.Semaphore(self._limits.decoders)
        self._pending = 0  # bytes of bodies that are being received or wait for their verdict

    async def server(self, request: Request) -> Response:
        """Describe the server."""
        described = {"name": "ce-detect", "version": VERSION, "extensions": ["binary_tensor_data"]}
        return Response(msgspec.json.encode(described), media_type=JSON)

    async def live(self, request: Request) -> Response:
        """Whether the process does its work."""
        return _yes_or_no(self._service.alive, "the thread that judges has died")

    async def ready(self, request: Request) -> Response:
        """Whether requests are answered."""
        return _yes_or_no(self._service.ready, "loading or stopping")

    async def model_ready(self, request: Request) -> Response:
        """Whether requests to the model are answered."""
        self._service.model(**request.path_params)
        return _yes_or_no(self._service.ready, "stopping")

    async def metadata(self, request: Request) -> Response:
        """Describe the model."""
        model = self._service.model(**request.path_params)
        described = protocol.metadata(model.contract, model=self._service.settings.name, version=MODEL_VERSION)
        return Response(described, media_type=JSON)

    async def openapi(self, request: Request) -> Response:
        """Describe the part of the protocol that is spoken here."""
        return Response(_OPENAPI.read_bytes(), media_type=JSON)

    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus."""
        return Response(self._service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def infer(self, request: Request) -> Response:
        """Judge inputs; whatever happens is counted once."""
        began, metrics = time.perf_counter(), self._service.metrics
        answer = await self._answered(request)
        metrics.requests.labels(str(answer.status_code)).inc()
        metrics.seconds.observe(time.perf_counter() - began)
        return answer

    async def _answered(self, request: Request) -> Response:
        try:
            with self._span(request) as span:
                return await self._infer(request, span)
        except RequestError as error:
            return refused(error)
        except InputError as error:
            return refused(RequestError(str(error)))
        except ClientDisconnect:
            return Response(status_code=GONE)
        except asyncio.CancelledError:  # the time for draining is over, and nothing else cancels a request
            return refused(RequestError("the server stopped before the verdict was there", status=503))
        except Exception as error:  # noqa: BLE001  from here on uvicorn would cut the connection off
            return _internal(error)

    async def _infer(self, request: Request, span: Any) -> Response:
        self._service.model(**request.path_params)  # unknown models are refused before the body is read
        with contextlib.ExitStack() as held:
            body = await self._body(request, held)
            model = self._service.model(**request.path_params)
            if request.headers.get("content-type", "").startswith("image/"):
                inference = protocol.image(body)
            else:
                inference = protocol.parse(body, model.contract, header_length=request.headers.get(HEADER_LENGTH))
            x = await self._read(model, inference.x) if isinstance(inference.x, tuple) else inference.x
            watch = self._service.settings.watch
            client = client_of(request, watch.client_header if watch else None)
            # the model is asked for again: a reload during the read closes the queue of the one before
            job = self._service.model(**request.path_params).batcher.submit(
                Job(x, inference.id, inference.threshold, client, span)
            )
            del body
            result = await self._verdict(job)
        if self._tracing is not None:
            self._tracing.judged(span, job, int(np.count_nonzero(result.is_adversarial)))
        content, length = protocol.render(inference, result, model=self._service.settings.name, version=MODEL_VERSION)
        if length is None:
            return Response(content, media_type=JSON)
        headers = {HEADER_LENGTH: str(length)}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def _read(self, model: Model, files: tuple[bytes, ...]) -> NDArray[Any]:
        """Inputs from image files, unpacked beside the event loop, a few at once."""
        async with self._decoders:
            return await asyncio.to_thread(model.read, files)

    async def _body(self, request: Request, held: contextlib.ExitStack) -> bytes:
        """Read the body within the limits, and count its bytes as pending while ``held`` lasts."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RequestError("compressed bodies are not taken; send it as it is", status=415)
        announced = request.headers.get("content-length", "0")
        self._check_size(int(announced) if announced.isdigit() else 0)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._limits.receive_seconds):
                async for part in request.stream():
                    size += len(part)
                    self._check_size(size)
                    self._hold(len(part), held)
                    parts.append(part)
        except TimeoutError:
            seconds = self._limits.receive_seconds
            raise RequestError(f"the body was not there within {seconds:g} s", status=408) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _check_size(self, size: int) -> None:
        if size > self._limits.body:
            raise RequestError(f"the body is larger than {self._limits.body} bytes; send fewer inputs", status=413)

    def _hold(self, size: int, held: contextlib.ExitStack) -> None:
        if self._pending + size > self._limits.pending:
            raise RequestError("too many bytes wait; ask again later", status=503, retry_after=1)
        self._pending += size
        held.callback(self._let_go, size)

    def _let_go(self, size: int) -> None:
        self._pending -= size

    async def _verdict(self, job: Job) -> GateResult:
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await asyncio.wrap_future(job.future)
        except TimeoutError:
            raise DeadlineError(self._limits.answer_seconds) from None

    def _span(self, request: Request) -> AbstractContextManager[Any]:
        if self._tracing is None:
            return nullcontext()
        return self._tracing.request(request.headers, self._service.settings.name)


def _yes_or_no(yes: bool, reason: str) -> Response:
    return Response(status_code=200) if yes else refused(RequestError(reason, status=503, retry_after=1))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return refused(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = refused(RequestError(error.detail, status=error.status_code))
    answer.headers.update(error.headers or {})
    return answer


async def _crashed(request: Request, error: Exception) -> Response:
    return _internal(error)


def _internal(error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return refused(RequestError("internal error; the server's log says more", status=500))
