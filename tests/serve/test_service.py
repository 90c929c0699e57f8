"""The artifact behind the routes: loading, reloading, records."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support import fused
from support.serving import PATIENCE, Watched, client, column, infer, sample, serving

from ce_detect.records.settings import AuditSettings, QuarantineSettings
from ce_detect.serve import service
from ce_detect.serve.model import Model
from ce_detect.serve.service import Service


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
    fused.write_graph(tmp_path)
    (tmp_path / "other").mkdir()
    other = fused.write_graph(tmp_path / "other", said=fused.metadata(threshold="0.0"))

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
    path = fused.write_graph(tmp_path)
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


def test_any_failure_to_load_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that nobody thought of: a server that is neither ready nor dead helps nobody."""

    def broken(*arguments: Any) -> Model:
        raise RecursionError("too deep")

    monkeypatch.setattr(service, "Model", broken)
    with (
        pytest.raises(AssertionError, match="cannot be loaded: RecursionError"),
        serving(tmp_path, settle=False) as made,
    ):
        assert made.settled.wait(PATIENCE)


def test_any_failure_to_reload_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loops: list[asyncio.AbstractEventLoop], caplog: Any
) -> None:
    """And logged; the old artifact goes on."""

    def broken(*arguments: Any) -> Model:
        raise RecursionError("too deep")

    with serving(tmp_path) as server, client(server) as http:
        monkeypatch.setattr(service, "Model", broken)
        on_the_loop(server, loops, server.service.reload())
        assert sample(http, 'ce_detect_reloads_total{outcome="refused"}') == 1
        assert infer(http, fused.images(1)).status_code == 200
    assert "reload refused" in caplog.text


def test_a_graph_with_a_deep_manifest(tmp_path: Path, loops: list[asyncio.AbstractEventLoop]) -> None:
    """It ends the start, and is refused by a reload."""
    deep = {**fused.metadata(), "ce_detect.manifest": "[" * 5000}
    with serving(tmp_path) as server, client(server) as http:
        fused.write_graph(tmp_path, said=deep)
        on_the_loop(server, loops, server.service.reload())
        assert sample(http, 'ce_detect_reloads_total{outcome="refused"}') == 1
    with pytest.raises(AssertionError, match=r"manifest of .* cannot be read"), serving(tmp_path, settle=False) as made:
        assert made.settled.wait(PATIENCE)
