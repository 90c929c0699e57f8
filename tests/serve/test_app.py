"""The server over HTTP: a client that we did not write, and clients that behave badly."""

from __future__ import annotations

import asyncio.selector_events
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from support import fused
from support.serving import (
    INFER,
    PATIENCE,
    Watched,
    binary,
    client,
    column,
    connected,
    infer,
    limits,
    plain,
    received,
    sample,
    serving,
)
from tritonclient.utils import InferenceServerException

from ce_detect.core.errors import UsageError
from ce_detect.runtime import Gate
from ce_detect.serve import model
from ce_detect.serve.server import Server
from ce_detect.serve.settings import Settings

BROKEN = [np.nan, np.inf, -1.0, 255.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the fused graph lies."""
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Watched]:
    """A server with the default settings, but small limits."""
    with serving(folder, limits=limits(batch=8, inputs=64, body=100_000)) as running:
        yield running


@pytest.fixture
def http(server: Watched) -> Iterator[httpx.Client]:
    """A client of it."""
    with client(server) as made:
        yield made


@pytest.fixture
def theirs(server: Watched) -> Iterator[Any]:
    """A client of it that we did not write."""
    host, port = server.address
    made = triton.InferenceServerClient(f"{host}:{port}")
    yield made
    made.close()


# ---- a client that we did not write


def test_triton_client_finds_what_it_looks_for(theirs: Any) -> None:
    """Health and metadata are where the protocol has them."""
    assert theirs.is_server_live()
    assert theirs.is_server_ready()
    assert theirs.is_model_ready("guard")
    assert theirs.is_model_ready("guard", "1")
    assert not theirs.is_model_ready("other")
    assert "binary_tensor_data" in theirs.get_server_metadata()["extensions"]
    described = theirs.get_model_metadata("guard")
    assert described["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, *fused.SHAPE]}]
    assert [output["name"] for output in described["outputs"]] == list(fused.KINDS)
    assert described["outputs"][0]["shape"] == [-1, 2]


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_triton_client_gets_verdicts(theirs: Any, folder: Path, sent: bool, asked: bool) -> None:
    """In binary and in JSON, both ways, the verdicts are those of the gate, also of more inputs than fit in a batch."""
    x = fused.images(20)
    tensor = triton.InferInput("input", x.shape, "FP32")
    tensor.set_data_from_numpy(x, binary_data=sent)
    outputs = [triton.InferRequestedOutput(name, binary_data=asked) for name in fused.KINDS]
    answer = theirs.infer("guard", [tensor], request_id="mine", outputs=outputs)
    expected = Gate(folder / "guard.onnx")(x)
    assert answer.get_response()["id"] == "mine"
    for name in fused.KINDS:
        found = answer.as_numpy(name)
        np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-6)
        assert found.dtype == getattr(expected, name).dtype
    assert 0 < expected.is_adversarial.sum() < 20


def test_triton_client_reads_errors(theirs: Any) -> None:
    """Refusals come in the protocol's form."""
    tensor = triton.InferInput("input", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
    with pytest.raises(InferenceServerException, match=r"expected \[batch, 3, 4, 5\]") as refused:
        theirs.infer("guard", [tensor])
    assert refused.value.status() == "400"


# ---- verdicts


def test_an_answer_does_not_depend_on_its_company(server: Watched) -> None:
    """Asked alone, in one request with others, or at the same time as others, an input gets the same verdict."""
    x = fused.images(24)
    with client(server) as http:
        together = column(infer(http, x), "score")
        alone = [column(infer(http, x[i : i + 1]), "score")[0] for i in range(24)]
    crowd: dict[int, float] = {}

    def ask(i: int) -> None:
        with client(server) as mine:
            crowd[i] = column(infer(mine, x[i : i + 1]), "score")[0]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    np.testing.assert_allclose(alone, together, rtol=1e-6)
    np.testing.assert_allclose([crowd[i] for i in range(24)], together, rtol=1e-6)


@pytest.mark.parametrize("value", BROKEN)
def test_hostile_pixels(http: httpx.Client, value: float) -> None:
    """NaN, infinity and pixels out of range are refused with what is wrong; the server goes on."""
    x = fused.images(3)
    x[1, 0, 0, 0] = value
    answer = infer(http, x)
    assert answer.status_code == 400
    assert "pixels" in answer.json()["error"]
    assert infer(http, fused.images(3)).status_code == 200


def test_abstaining(folder: Path) -> None:
    """With the policy, labels of flagged inputs are −1."""
    with serving(folder, policy="abstain") as server, client(server) as http:
        answer = infer(http, fused.images(20))
    labels, flagged = column(answer, "label"), column(answer, "is_adversarial")
    assert [label == -1 for label in labels] == flagged


def test_threshold_of_the_client(folder: Path, http: httpx.Client) -> None:
    """It is refused, but where the operator allows it."""
    body = json.loads(plain(fused.images(20)))
    body["inputs"].append({"name": "threshold", "shape": [1], "datatype": "FP32", "data": [0.9]})
    assert http.post(INFER, json=body).status_code == 400
    with serving(folder, allow_threshold=True) as server, client(server) as allowed:
        assert not any(column(allowed.post(INFER, json=body), "is_adversarial"))
        assert any(column(infer(allowed, fused.images(20)), "is_adversarial"))
        assert allowed.get("/v2/models/guard").json()["inputs"][1]["name"] == "threshold"


def test_grey_levels(tmp_path: Path) -> None:
    """A graph that takes uint8 is served as such."""
    fused.written(tmp_path, uint8=True)
    x = (fused.images(5) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    with serving(tmp_path) as server, client(server) as http:
        described = http.get("/v2/models/guard").json()["inputs"][0]
        scores = column(infer(http, np.ascontiguousarray(x)), "score")
    assert (described["datatype"], described["shape"]) == ("UINT8", [-1, 4, 5, 3])
    np.testing.assert_allclose(scores, x.mean((1, 2, 3)) / 255, rtol=1e-5)


def test_metrics(folder: Path) -> None:
    """Every request is counted by what became of it, every input by its verdict."""
    x = fused.images(20)
    with serving(folder) as server, client(server) as http:
        flagged = sum(column(infer(http, x), "is_adversarial"))
        http.post(INFER, content=b"{")
        http.post("/v2/models/other/infer", content=b"{}")
        counted = {
            name: sample(http, f"ce_detect_{name}")
            for name in (
                'requests_total{status="200"}', 'requests_total{status="400"}', 'requests_total{status="404"}',
                'inputs_total{verdict="clean"}', 'inputs_total{verdict="adversarial"}', "score_count", "p_value_count",
                'score_bucket{le="0.5"}', "request_seconds_count", "queue_inputs", "threshold",
            )
        }  # fmt: skip
        text = http.get("/metrics").text
    assert list(counted.values()) == [1, 1, 1, 20 - flagged, flagged, 20, 20, 20 - flagged, 3, 0, 0.5]
    assert f'fingerprint="{Gate(folder / "guard.onnx").fingerprint}"' in text


# ---- what is not there


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/guard/versions/2", 404),
        ("GET", "/v2/models/guard/versions/2/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/guard/versions/2/infer", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
        ("GET", "/v2/models/" + "a" * 3000, 404),
        ("GET", "/v2/models/%00%ff", 404),
    ],
)
def test_refusals_have_one_form(http: httpx.Client, method: str, path: str, status: int) -> None:
    """Whatever is refused is told as the protocol says."""
    answer = http.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_compressed_bodies_are_not_taken(http: httpx.Client) -> None:
    """A few bytes that unfold into many are not even looked at."""
    assert http.post(INFER, content=b"x", headers={"content-encoding": "gzip"}).status_code == 415


# ---- limits


def test_large_bodies(server: Watched, http: httpx.Client) -> None:
    """A body beyond the limit is refused, whether it says so at the start or not."""

    def parts() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(10_000)

    assert http.post(INFER, content=parts()).status_code == 413
    with connected(server) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n".encode())
        assert received(connection).startswith(b"HTTP/1.1 413")


def test_many_inputs(http: httpx.Client) -> None:
    """So are more inputs than one request may bring."""
    answer = infer(http, fused.images(65))
    assert answer.status_code == 413
    assert "at most 64" in answer.json()["error"]


def test_pending_bytes(folder: Path) -> None:
    """Bodies together have a limit too, and what they held is given back."""
    with serving(folder, limits=limits(pending=5000)) as server, client(server) as http:
        for _ in range(3):
            answer = infer(http, fused.images(50))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert infer(http, fused.images(10)).status_code == 200


class Held(Gate):
    """A gate that waits for a word once it is warm."""

    warm = 2

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.calls, Held.entered, Held.go = 0, threading.Event(), threading.Event()

    entered: threading.Event
    go: threading.Event

    def __call__(self, x: Any, **settings: Any) -> Any:
        self.calls += 1
        if self.calls > self.warm:
            Held.entered.set()
            assert Held.go.wait(PATIENCE)
        return super().__call__(x, **settings)


def asking(server: Watched, count: int = 1) -> tuple[threading.Thread, list[httpx.Response]]:
    """Ask from another thread; the answer will be in the list."""
    answers: list[httpx.Response] = []

    def ask() -> None:
        with client(server) as http:
            answers.append(infer(http, fused.images(count)))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def test_full_queue(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many inputs wait the answer is 503 with Retry-After; those that wait are answered."""
    monkeypatch.setattr(model, "Gate", Held)
    with serving(folder, limits=limits(queue=2)) as server, client(server) as http:
        first, firsts = asking(server)
        assert Held.entered.wait(PATIENCE)
        second, seconds = asking(server, 2)
        while sample(http, "ce_detect_queue_inputs") < 2:
            assert second.is_alive()
        refused = infer(http, fused.images(1))
        Held.go.set()
        first.join(PATIENCE)
        second.join(PATIENCE)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "queue is full" in refused.json()["error"]
    assert [answer.status_code for answer in firsts + seconds] == [200, 200]


def test_deadline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that takes too long is 504, and the server still answers."""
    monkeypatch.setattr(model, "Gate", Held)
    with serving(folder, limits=limits(answer_seconds=0.05)) as server, client(server) as http:
        late = infer(http, fused.images(1))
        assert (late.status_code, http.get("/v2/health/live").status_code) == (504, 200)
        Held.go.set()


def test_unforeseen_error_is_500(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, told in the protocol's form without what it was, and the server goes on."""

    class Breaking(Held):
        def __call__(self, x: Any, **settings: Any) -> Any:
            self.calls += 1
            if self.calls == self.warm + 1:
                raise RuntimeError("secret")
            return Gate.__call__(self, x, **settings)

    monkeypatch.setattr(model, "Gate", Breaking)
    with serving(folder) as server, client(server) as http:
        answer = infer(http, fused.images(1))
        assert (answer.status_code, infer(http, fused.images(1)).status_code) == (500, 200)
        assert sample(http, 'ce_detect_requests_total{status="500"}') == 1
    assert "secret" not in answer.json()["error"]


# ---- clients that behave badly


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"POST /v2 HTTP/1.1\r\nHo", b""),
        (f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc".encode(), b"HTTP/1.1 408"),
    ],
)
def test_slow_clients_are_cut_off(folder: Path, sent: bytes, answered: bytes) -> None:
    """Whoever sends no head, or half a head or body, is cut off after the time allowed."""
    with serving(folder, limits=limits(receive_seconds=0.3)) as server, connected(server) as connection:
        connection.sendall(sent)
        assert received(connection).startswith(answered)
        with client(server) as http:
            assert http.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / SMTP\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
    ],
)
def test_what_is_no_http(server: Watched, http: httpx.Client, sent: bytes) -> None:
    """It is answered with 400 in the protocol's form, or cut off, and the server goes on."""
    with connected(server) as connection:
        connection.sendall(sent)
        answer = received(connection)
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4")
        assert list(json.loads(body)) == ["error"]
    assert infer(http, fused.images(1)).status_code == 200


def test_client_that_leaves(folder: Path) -> None:
    """A client that goes away in the middle of its body is counted, and costs nothing."""
    with serving(folder) as server, client(server) as http:
        with connected(server) as connection:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc".encode())
        for _ in range(2000):
            if sample(http, 'ce_detect_requests_total{status="499"}'):
                break
        assert sample(http, 'ce_detect_requests_total{status="499"}') == 1
        assert infer(http, fused.images(1)).status_code == 200


def test_too_many_connections(folder: Path) -> None:
    """Beyond the limit only probes are answered, until somebody leaves."""
    with serving(folder, limits=limits(connections=1)) as server:
        with client(server) as first:
            assert infer(first, fused.images(1)).status_code == 200
            with client(server) as second:
                refused = infer(second, fused.images(1))
            with client(server) as third:
                assert third.get("/v2/health/live").status_code == 200
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "connections" in refused.json()["error"]


# ---- who may ask


def test_bearer_token(folder: Path) -> None:
    """With a token file only its token opens the door; probes need none."""
    (folder / "token").write_text("s3cret\n")
    with serving(folder, token_file=folder / "token") as server, client(server) as http:
        for wrong in (None, "Bearer", "Bearer s3cre", "Bearer s3cretx", "bearer s3cret\xff", "Basic s3cret"):
            headers = {} if wrong is None else {"authorization": wrong.encode("latin-1")}
            answer = http.get("/v2", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert list(answer.json()) == ["error"]
        assert http.get("/metrics").status_code == 401
        assert http.post(INFER, content=plain(fused.images(1))).status_code == 401
        assert http.get("/v2/health/ready").status_code == 200
        http.headers["authorization"] = "Bearer s3cret"
        assert infer(http, fused.images(1)).status_code == 200


def test_token_that_is_none(tmp_path: Path) -> None:
    """An empty token file would let everybody in, so it is refused."""
    (tmp_path / "token").write_text("\n")
    with pytest.raises(UsageError, match="must hold one word"):
        Server(Settings(artifact=tmp_path / "guard.onnx", token_file=tmp_path / "token"), port=0)


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
    with serving(folder, where=files) as server:
        with client(server, verify=trusted) as http:
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


def test_every_broken_binary_is_refused(http: httpx.Client) -> None:
    """Shapes, sizes and types that lie never reach the gate."""
    x = fused.images(2)
    for changed in (
        {"shape": [-2, 3, 4, 5]}, {"shape": [2, 3, 4, 2**62]}, {"shape": [2**63 - 1, 3, 4, 5]}, {"datatype": "INT8"},
        {"parameters": {"binary_data_size": 1}}, {"parameters": {"binary_data_size": 2**40}},
        {"shape": [1, 3, 4, 5], "parameters": {"binary_data_size": 240}},
    ):  # fmt: skip
        body, headers = binary(x, **changed)
        answer = http.post(INFER, content=body, headers=headers)
        assert answer.status_code in (400, 413), answer.text
        assert list(answer.json()) == ["error"]


def test_an_answer_leaves_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body of each answer go out in one send: another is another packet, and time that the graph could use."""
    sent: list[bytes] = []
    transport = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write

    def watched(self: Any, data: bytes) -> None:
        sent.append(bytes(data))
        write(self, data)

    monkeypatch.setattr(transport, "write", watched)
    with serving(tmp_path) as server, client(server) as http:
        before = len(sent)
        answers = [infer(http, fused.images(count)) for count in (1, 2, 3)]
        pieces = sent[before:]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(pieces) == 3
    assert all(
        piece.startswith(b"HTTP/1.1 200") and piece.endswith(answer.content)
        for piece, answer in zip(pieces, answers, strict=True)
    )
