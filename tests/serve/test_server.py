"""A server from start to end: signals, death, TLS, addresses; and what is imported on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support import fused
from support.serving import INFER, PATIENCE, Watched, binary, client, column, infer, limits, process, serving

from ce_detect.core.errors import ArtifactError, UsageError
from ce_detect.serve.server import Server
from ce_detect.serve.settings import Settings


def test_bad_artifact_ends_the_server(tmp_path: Path) -> None:
    """What cannot be loaded is raised where the server was started, and the socket is closed."""
    (tmp_path / "guard.onnx").write_bytes(b"no graph")
    with pytest.raises(AssertionError, match="not a whole ONNX file"), serving(tmp_path, settle=False) as server:
        assert server.settled.wait(PATIENCE)
    assert isinstance(server.service.failure, ArtifactError)
    with pytest.raises(httpx.ConnectError), client(server) as http:
        http.get("/v2")


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


def test_a_warm_up_that_does_not_end(tmp_path: Path) -> None:
    """A graph may compute for ever; SIGTERM ends the process all the same, in the time that it has for draining."""
    fused.write_graph(tmp_path, endless=True)
    flags = ("--drain-timeout", "1", "--grace", "0")
    with process(tmp_path, *flags, message="listening") as (server, url):
        time.sleep(0.5)  # by now it computes
        assert httpx.get(f"{url}/v2/health/ready", trust_env=False, verify=False).status_code == 503
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=PATIENCE)
        assert time.monotonic() - began < 5
    assert (server.returncode, "Traceback" in err) == (0, False)


def test_reload_with_a_graph_that_does_not_end(tmp_path: Path) -> None:
    """The old one goes on, and the end is not kept up either."""
    body, headers = binary(fused.images(2))
    with process(tmp_path, "--drain-timeout", "1", "--grace", "0") as (server, url):
        fused.write_graph(tmp_path, endless=True)
        server.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert httpx.post(url + INFER, content=body, headers=headers, trust_env=False, verify=False).status_code == 200
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=PATIENCE)
    assert (server.returncode, "Traceback" in err, "given up" in err) == (0, False, True)


def test_termination_with_a_client_that_does_not_read(tmp_path: Path) -> None:
    """It is let go when the time for draining is over, and no traceback is written."""
    with process(tmp_path, "--drain-timeout", "1", "--grace", "0", "--send-timeout", "60") as (server, url):
        address = httpx.URL(url)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((address.host, address.port))
            connection.settimeout(1)
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"GET /v2/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000)
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            _, err = server.communicate(timeout=PATIENCE)
            assert time.monotonic() - began < 5
    assert (server.returncode, "Traceback" in err, "exc_info" in err) == (0, False, False)


@pytest.mark.parametrize("name", ["a/b", "", "..", "a b", "a?b", "ä", "x" * 300])
def test_a_name_that_nobody_can_ask_for(tmp_path: Path, name: str) -> None:
    """It is refused at the start, for it is part of addresses."""
    with pytest.raises(UsageError, match="cannot be part of an address"):
        Settings(artifact=tmp_path / "guard.onnx", name=name)


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


def test_tls(folder: Path) -> None:
    """With a certificate the server speaks TLS, and nothing else."""
    files = {"certificate": folder / "cert.pem", "key": folder / "key.pem"}
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    make += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*make, "-keyout", files["key"], "-out", files["certificate"]], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    trusted = ssl.create_default_context(cafile=files["certificate"])
    with serving(folder, where=files, limits=limits(receive_seconds=2.0)) as server:
        with socket.create_connection(server.address) as silent, client(server, verify=trusted) as http:
            silent.settimeout(20)
            assert silent.recv(1) == b""  # no handshake came, for which asyncio would wait a minute
            assert infer(http, fused.images(1)).status_code == 200
        with client(server, verify=True) as strange, pytest.raises(httpx.ConnectError):
            strange.get("/v2")


def test_certificate_that_is_none(folder: Path) -> None:
    """It is refused at the start, with its name."""
    (folder / "not.pem").write_text("no certificate")
    with pytest.raises(UsageError, match=r"not\.pem"):
        Server(
            Settings(artifact=folder / "guard.onnx"),
            port=0,
            certificate=folder / "not.pem",
            key=folder / "not.pem",
        )


def test_address_that_is_taken(server: Watched, folder: Path) -> None:
    """A port that somebody else has is told with the remedy."""
    with pytest.raises(UsageError, match="--port"):
        Server(Settings(artifact=folder / "guard.onnx"), port=server.address[1])


def test_only_this_machine_is_served(server: Watched) -> None:
    """By default nobody else can connect."""
    assert server.address[0] == "127.0.0.1"
