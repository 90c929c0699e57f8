"""Traces of requests."""

from __future__ import annotations

import asyncio
import http.server
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import fused
from support.serving import INFER, PATIENCE, binary, client, infer, limits, serving

from ce_detect.serve.app import make_app
from ce_detect.serve.service import Service
from ce_detect.serve.settings import Settings, WatchSettings
from ce_detect.serve.tracing import Tracing


def traced(folder: Path, requests: list[tuple[bytes, dict[str, str]]], **settings: Any) -> list[Any]:
    """The spans of some requests."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    graph = folder / "guard.onnx"
    graph.write_bytes(fused.graph(said=fused.metadata({**fused.MANIFEST, "data": {"splits": {"calibrate": 600}}})))

    async def run() -> None:
        service = Service(Settings(artifact=graph, limits=limits(), **settings))
        await service.load()
        transport = httpx.ASGITransport(make_app(service, tracing=Tracing(provider)))
        async with httpx.AsyncClient(transport=transport, base_url="http://guard") as http:
            for body, headers in requests:
                await http.post(INFER, content=body, headers=headers)
        await service.close()

    asyncio.run(run())
    return list(exporter.get_finished_spans())


def test_traces(tmp_path: Path) -> None:
    """A request is a span in the trace of its client, with the queue and the batch in it."""
    body, headers = binary(fused.images(20))
    spans = traced(tmp_path, [(body, {**headers, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}), (b"{", {})])
    queue, batch, request, refused = spans
    assert [span.name for span in spans] == ["queue", "batch", "infer", "infer"]
    assert {span.context.trace_id for span in (queue, batch, request)} == {int("a" * 32, 16)}
    assert request.parent.span_id == int("b" * 16, 16)
    assert queue.parent.span_id == batch.parent.span_id == request.context.span_id
    assert request.attributes["ce_detect.inputs"] == 20
    assert 0 < request.attributes["ce_detect.flagged"] < 20
    assert request.start_time <= queue.start_time <= queue.end_time == batch.start_time <= batch.end_time
    assert refused.parent is None
    assert not refused.status.is_ok


def test_an_alarm_is_a_span_that_names_the_request_that_raised_it(tmp_path: Path) -> None:
    """Somebody sends images that no clean one is: what the alarm says, and a link into the trace of its client."""
    body, headers = binary(np.full((1, *fused.SHAPE), 0.999, np.float32))
    asked = [(body, {**headers, "traceparent": f"00-{number:032x}-{'b' * 16}-01"}) for number in range(1, 13)]
    spans = traced(tmp_path, asked, watch=WatchSettings(queries=False))
    requests = {span.context.trace_id: span for span in spans if span.name == "infer"}
    of_clients = [
        span for span in spans
        if span.name == "alarm" and span.attributes["ce_detect.alarm.scope"] == "client"
    ]  # fmt: skip
    assert len(of_clients) == 1
    (alarm,) = of_clients
    (link,) = alarm.links
    assert alarm.parent is None
    assert requests[link.context.trace_id].context.span_id == link.context.span_id
    assert 1 < link.context.trace_id <= 12
    assert alarm.attributes["ce_detect.alarm.kind"] == "campaign"
    assert "Suspicious inputs of client" in alarm.attributes["ce_detect.alarm.text"]
    assert alarm.attributes["ce_detect.alarm.techniques"][0].startswith("AML.T0015")
    assert (alarm.attributes["ce_detect.model"], len(alarm.attributes["ce_detect.artifact"])) == ("guard", 64)


def test_traces_are_sent(tmp_path: Path) -> None:
    """With an endpoint, spans arrive there when the server stops at the latest."""
    paths: list[str] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}/v1/traces"
        with serving(tmp_path, otlp_endpoint=endpoint) as server, client(server) as asking:
            assert infer(asking, fused.images(1)).status_code == 200
        collector.shutdown()
        thread.join(PATIENCE)
    assert paths == ["/v1/traces"]
