"""From start to end: readiness, reload, signals, death, traces; and what is imported on the way."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import fused
from support.serving import INFER, PATIENCE, Watched, binary, client, column, infer, limits, sample, serving

from ce_detect.core.errors import ArtifactError
from ce_detect.records.settings import AuditSettings, QuarantineSettings
from ce_detect.serve import service
from ce_detect.serve.app import make_app
from ce_detect.serve.model import Model
from ce_detect.serve.service import Service
from ce_detect.serve.settings import Settings
from ce_detect.serve.server import listening
from ce_detect.serve.tracing import Tracing

# ---- start


def test_not_ready_before_it_is_warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the artifact is loaded and warmed up the server is alive, not ready, and asks to come again."""
    go = threading.Event()

    def slowly(*arguments: Any) -> Model:
        assert go.wait(PATIENCE)
        return Model(*arguments)

    monkeypatch.setattr(service, "Model", slowly)
    with serving(tmp_path, settle=False) as server, client(server) as http:
        paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/guard/ready")
        before = [http.get(path).status_code for path in paths]
        early = infer(http, fused.images(1))
        go.set()
        assert server.settled.wait(PATIENCE)
        after = [http.get(path).status_code for path in paths]
    assert (before, after) == ([200, 503, 503], [200, 200, 200])
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")


def test_bad_artifact_ends_the_server(tmp_path: Path) -> None:
    """What cannot be loaded is raised where the server was started, and the socket is closed."""
    (tmp_path / "guard.onnx").write_bytes(b"no graph")
    with pytest.raises(AssertionError, match="not a whole ONNX file"), serving(tmp_path, settle=False) as server:
        assert server.settled.wait(PATIENCE)
    assert isinstance(server.service.failure, ArtifactError)
    with pytest.raises(httpx.ConnectError), client(server) as http:
        http.get("/v2")


# ---- reload


def on_the_loop(server: Watched, loop: list[asyncio.AbstractEventLoop], what: Any) -> None:
    """Run a coroutine of the service where it belongs."""
    asyncio.run_coroutine_threadsafe(what, loop[0]).result(PATIENCE)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.AbstractEventLoop]:
    """The event loops of the servers that start."""
    found: list[asyncio.AbstractEventLoop] = []
    load = Service.load

    async def noted(self: Service) -> None:
        found.append(asyncio.get_running_loop())
        await load(self)

    monkeypatch.setattr(Service, "load", noted)
    return found


def test_reload_loses_no_request(tmp_path: Path, loops: list[asyncio.AbstractEventLoop]) -> None:
    """Under load another artifact takes over: every request is answered, by the old one or the new one."""
    x, answers = fused.images(20), list[httpx.Response]()
    asked, stop = threading.Semaphore(0), threading.Event()
    fused.written(tmp_path)
    (tmp_path / "other").mkdir()
    other = fused.written(tmp_path / "other", said=fused.metadata(threshold="0.0"))

    def ask() -> None:
        with client(server) as http:
            while not stop.is_set():
                answers.append(infer(http, x))
                asked.release()

    with serving(tmp_path, audit=AuditSettings(path=tmp_path / "audit")) as server, client(server) as http:
        old = server.service.model("guard").fingerprint
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for content in (other.read_bytes(), fused.graph(), other.read_bytes()):
            assert asked.acquire(timeout=PATIENCE)
            (tmp_path / "guard.onnx").write_bytes(content)
            on_the_loop(server, loops, server.service.reload())
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        new = server.service.model("guard").fingerprint
        flagged = column(infer(http, x), "is_adversarial")
        reloads = sample(http, 'ce_detect_reloads_total{outcome="done"}')
    assert old != new
    assert reloads == 3
    assert all(flagged)
    assert {answer.status_code for answer in answers} == {200}
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert len(lines) == 20 * (len(answers) + 1)
    assert {line["artifact"] for line in lines} == {old, new}


@pytest.mark.parametrize("bad", ["no graph", "half", "gone", "other inputs"])
def test_bad_file_leaves_the_old_one_serving(tmp_path: Path, loops: list[asyncio.AbstractEventLoop], bad: str) -> None:
    """A reload that cannot be is logged and counted, and nothing else changes."""
    path = fused.written(tmp_path)
    with serving(tmp_path) as server, client(server) as http:
        before = infer(http, fused.images(5)).content
        if bad == "gone":
            path.unlink()
        else:
            path.write_bytes(
                {"no graph": b"no graph", "half": fused.graph()[:500], "other inputs": fused.graph(uint8=True)}[bad]
            )
        on_the_loop(server, loops, server.service.reload())
        assert infer(http, fused.images(5)).content == before
        assert sample(http, 'ce_detect_reloads_total{outcome="refused"}') == 1
        assert http.get("/v2/health/ready").status_code == 200


# ---- records


def test_full_disk_does_not_stop_verdicts(tmp_path: Path) -> None:
    """Where the audit log cannot be written, requests are answered, and the lost lines are counted."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with serving(tmp_path, audit=AuditSettings(path=Path("/dev/full"))) as server, client(server) as http:
        for _ in range(3):
            assert infer(http, fused.images(5)).status_code == 200
        assert sample(http, "ce_detect_audit_lost_total") == 15


def test_flagged_inputs_go_to_quarantine(tmp_path: Path) -> None:
    """Their files are there when the server has stopped, and they are counted."""
    x, quarantine = fused.images(20), QuarantineSettings(folder=tmp_path / "quarantine")
    with serving(tmp_path, quarantine=quarantine) as server, client(server) as http:
        flagged = np.array(column(infer(http, x), "is_adversarial"))
        metrics = server.service.metrics
    kept = sorted(float(np.load(path)["x"].mean()) for path in (tmp_path / "quarantine").iterdir())
    np.testing.assert_allclose(kept, sorted(x[flagged].mean((1, 2, 3))), rtol=1e-5)
    assert f'quarantined_total{{outcome="stored"}} {flagged.sum()}.0' in metrics.text().decode()


# ---- traces


def traced(folder: Path, requests: list[tuple[bytes, dict[str, str]]]) -> list[Any]:
    """The spans of some requests."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def run() -> None:
        served = Service(Settings(artifact=fused.written(folder), limits=limits()))
        await served.load()
        transport = httpx.ASGITransport(make_app(served, tracing=Tracing(provider)))
        async with httpx.AsyncClient(transport=transport, base_url="http://guard") as http:
            for body, headers in requests:
                await http.post(INFER, content=body, headers=headers)
        await served.close()

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


# ---- processes


@contextlib.contextmanager
def process(folder: Path, *flags: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``ce-detect serve`` in a process of its own, ready."""
    guard = folder / "guard.onnx"
    if not guard.exists():
        fused.written(folder)
    run = [
        sys.executable,
        "-c",
        "from ce_detect.cli import main; main()",
        "serve",
        guard,
        "--port",
        "0",
        "--json",
        *flags,
    ]
    with subprocess.Popen(
        [str(part) for part in run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            said = json.loads(started.stdout.readline())
            assert started.stderr is not None
            for line in started.stderr:
                if json.loads(line)["message"] == "ready":
                    break
            yield started, f"http://{said['host']}:{said['port']}"
        finally:
            if started.poll() is None:
                started.kill()


def test_termination_under_load(tmp_path: Path) -> None:
    """SIGTERM: every request that the server took is answered in full and audited, and the exit code is 0."""
    x, done, failed, told = fused.images(8), list[int](), list[Exception](), threading.Event()
    body, headers = binary(x)

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, verify=False) as http:
            while True:
                try:
                    answer = http.post(INFER, content=body, headers=headers)
                except httpx.HTTPError as error:
                    failed.append(error)
                    return
                done.append(answer.status_code)
                if len(done) > 50:
                    told.set()
                if answer.headers.get("connection") == "close":
                    return

    with process(tmp_path, "--audit", tmp_path / "audit", "--grace", "0.3") as (server, url):
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        assert told.wait(PATIENCE)
        server.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(PATIENCE)
        _, err = server.communicate(timeout=PATIENCE)
    assert (server.returncode, failed, set(done)) == (0, [], {200})
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert len(lines) == 8 * len(done)
    assert [json.loads(line)["message"] for line in err.splitlines() if '"ce_detect.serve"' in line] == [
        "draining", "stopped",
    ]  # fmt: skip


def test_death_and_another_life(tmp_path: Path) -> None:
    """SIGHUP reloads; SIGKILL leaves an audit log with every verdict that was given, and the next process goes on."""
    body, headers = binary(fused.images(8))
    given = 0
    for end in (signal.SIGKILL, signal.SIGINT):
        with (
            process(tmp_path, "--audit", tmp_path / "audit", "--grace", "0") as (server, url),
            httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, verify=False) as asking,
        ):
            for _ in range(5):
                assert asking.post(INFER, content=body, headers=headers).status_code == 200
                given += 8
            server.send_signal(signal.SIGHUP)
            assert server.stderr is not None
            assert any(json.loads(line)["message"] == "reloaded" for line in server.stderr)
            assert asking.post(INFER, content=body, headers=headers).status_code == 200
            given += 8
            server.send_signal(end)
            server.wait(PATIENCE)
        with (tmp_path / "audit").open("ab") as file:
            file.write(b'{"torn')
    assert server.returncode == 0
    whole = (tmp_path / "audit").read_bytes().splitlines()[:-1]
    assert len([json.loads(line) for line in whole]) == given


def test_imports_are_light() -> None:
    """Serving needs neither torch nor scikit-learn."""
    source = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'sklearn', 'scipy', 'art', 'onnx')))\n"
        "import ce_detect.serve.server, ce_detect.cli.serve"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr


def test_an_exported_guard_is_served(tmp_path: Path) -> None:
    """From a calibrated detector to verdicts over HTTP: they are those of PyTorch."""
    pytest.importorskip("ce_detect.export.writer", reason="there is no exporter yet")
    from support.calibrated import fresh, guard

    detector: Any = guard()
    detector.export(tmp_path / "guard.onnx")
    x = np.concatenate([part[:10] for part in fresh()])
    expected = detector(x)
    with serving(tmp_path, limits=limits(batch=8)) as server, client(server) as http:
        answer = infer(http, x)
    assert column(answer, "label") == expected.label.tolist()
    assert column(answer, "is_adversarial") == expected.is_adversarial.tolist()
    np.testing.assert_allclose(column(answer, "score"), expected.score, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(column(answer, "p_value"), expected.p_value, atol=0.02)


def test_answers_leave_at_once() -> None:
    """Head and body are written one after the other, and the second must not wait for an acknowledgement."""
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
