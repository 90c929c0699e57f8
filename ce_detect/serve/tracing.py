"""OpenTelemetry traces of requests, where the extra ``otel`` is installed and somebody wants them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ce_detect.core.extras import needed_for
from ce_detect.core.version import VERSION
from ce_detect.monitor import Alarm
from ce_detect.records.record import Job


class Tracing:
    """Spans of requests: one from request to answer, in it the time in the queue and that of the batch; and of alarms.

    Args:
        provider: a tracer provider of the SDK.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider, self._kind = provider, SpanKind.SERVER
        self._tracer = provider.get_tracer("ce_detect.serve", VERSION)
        self._context = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, endpoint: str) -> Tracing:
        """Send spans to a collector, with OTLP over HTTP, in the background.

        Args:
            endpoint: such as ``http://127.0.0.1:4318/v1/traces``.

        Raises:
            MissingExtraError: the extra ``otel`` is not installed.
        """
        with needed_for("Sending traces", extra="otel"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        provider = TracerProvider(resource=Resource.create({"service.name": "ce-detect"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        return cls(provider)

    @contextmanager
    def request(self, headers: Mapping[str, str], model: str) -> Iterator[Any]:
        """A span around a request, in the trace that the client's ``traceparent`` names."""
        context = self._context.extract(dict(headers))
        attributes = {"ce_detect.model": model}
        with self._tracer.start_as_current_span("infer", context, kind=self._kind, attributes=attributes) as span:
            yield span

    def judged(self, span: Any, job: Job, flagged: int) -> None:
        """Add what a verdict took."""
        offset = time.time() - time.perf_counter()
        span.set_attributes({"ce_detect.inputs": len(job.x), "ce_detect.flagged": flagged})
        for name, start, end in (("queue", job.submitted, job.started), ("batch", job.started, job.finished)):
            part = self._tracer.start_span(name, start_time=_nanoseconds(offset + start))
            if name == "batch":
                part.set_attribute("ce_detect.batch", job.batch)
            part.end(_nanoseconds(offset + end))

    def alarm(self, alarm: Alarm, model: str, artifact: str, request: Any) -> None:
        """A span of an alarm, linked to the request that raised it: that one was answered before.

        Args:
            alarm: of the monitor.
            model: its name in the protocol.
            artifact: SHA-256 of its file.
            request: span of the request, see `ce_detect.records.record.Job.span`.
        """
        from opentelemetry.context import Context
        from opentelemetry.trace import Link

        told = {f"ce_detect.alarm.{name}": value for name, value in alarm.plain().items()}
        attributes = {**told, "ce_detect.model": model, "ce_detect.artifact": artifact}
        links = [] if request is None else [Link(request.get_span_context())]
        self._tracer.start_span("alarm", Context(), links=links, attributes=attributes).end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
