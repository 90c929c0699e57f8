"""The protocol over HTTP: a client that we did not write, verdicts, and what is refused."""

from __future__ import annotations

import json
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

from ce_detect.runtime import Gate
from ce_detect.serve import model

BROKEN = [np.nan, np.inf, -1.0, 255.0]


@pytest.fixture
def theirs(server: Watched) -> Iterator[Any]:
    """A client of it that we did not write."""
    host, port = server.address
    made = triton.InferenceServerClient(f"{host}:{port}")
    yield made
    made.close()


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


def test_large_bodies(server: Watched, http: httpx.Client) -> None:
    """A body beyond the limit is refused, whether it says so at the start or not."""

    def parts() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(10_000)

    assert http.post(INFER, content=parts()).status_code == 413
    with connected(server) as connection:
        connection.sendall(
            f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n".encode()
        )
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


def test_client_that_leaves(folder: Path) -> None:
    """A client that goes away in the middle of its body is counted, and costs nothing."""
    with serving(folder) as server, client(server) as http:
        with connected(server) as connection:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc".encode())
        for _ in range(2000):
            if sample(http, 'ce_detect_requests_total{status="499"}'):
                break
        assert sample(http, 'ce_detect_requests_total{status="499"}') == 1
        assert infer(http, fused.images(1)).status_code == 200


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
