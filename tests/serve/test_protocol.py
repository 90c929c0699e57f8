"""The protocol: bytes to arrays and back, and nothing but its own error for anything else."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fused import SHAPE, images
from support.serving import binary, plain

from ce_detect.artifacts.graph_format import OUTPUT_TYPES, OUTPUTS
from ce_detect.serve import protocol
from ce_detect.serve.errors import RequestError
from ce_detect.serve.protocol import Contract, Inference
from ce_detect.verdict.result import GateResult

CONTRACT = Contract(datatype="FP32", shape=SHAPE, classes=2, most_inputs=8)


def result(count: int) -> GateResult:
    """Verdicts of all kinds, among them a NaN."""
    score = np.linspace(-1, 1, count, dtype=np.float32)
    return GateResult(
        logits=np.stack([score, -score], 1),
        label=np.arange(count),
        score=score,
        p_value=np.float32((1 - score) / 2),
        probability=np.full(count, np.nan, np.float32),
        is_adversarial=score > 0,
        threshold=0.0,
    )


def request(**changed: Any) -> bytes:
    """A request with one image in JSON, whose input is changed."""
    x = images(1)
    tensor = {"name": "input", "shape": [1, *SHAPE], "datatype": "FP32", "data": x.ravel().tolist(), **changed}
    return json.dumps({"inputs": [tensor]}).encode()


def test_three_spellings_one_array() -> None:
    """Flat JSON, nested JSON and binary give the same inputs."""
    x = images(3)
    body, headers = binary(x)
    nested = msgspec.json.encode(
        {"inputs": [{"name": "input", "shape": x.shape, "datatype": "FP32", "data": x.tolist()}]}
    )
    for parsed in (
        protocol.parse(plain(x), CONTRACT),
        protocol.parse(nested, CONTRACT),
        protocol.parse(body, CONTRACT, header_length=headers["Inference-Header-Content-Length"]),
    ):
        np.testing.assert_array_equal(parsed.x, x)
        assert parsed.outputs == tuple((name, False) for name in OUTPUTS)


def test_binary_input_is_not_copied() -> None:
    """The array is a view of the body."""
    body, headers = binary(images(2))
    parsed = protocol.parse(body, CONTRACT, header_length=headers["Inference-Header-Content-Length"])
    assert np.shares_memory(parsed.x, np.frombuffer(body, np.uint8))


def test_grey_levels() -> None:
    """A graph that takes uint8 is sent uint8, in JSON within 0 to 255."""
    contract = Contract(datatype="UINT8", shape=(4, 5, 3), classes=2, most_inputs=8)
    x = np.arange(60, dtype=np.uint8).reshape(1, 4, 5, 3)
    body, headers = binary(x)
    length = headers["Inference-Header-Content-Length"]
    np.testing.assert_array_equal(protocol.parse(body, contract, header_length=length).x, x)
    tensor = {"name": "input", "shape": x.shape, "datatype": "UINT8", "data": [256] * 60}
    with pytest.raises(RequestError, match="255"):
        protocol.parse(msgspec.json.encode({"inputs": [tensor]}), contract)


def test_answer_in_json() -> None:
    """Names, types and shapes are those of the model; the id comes back, and NaN is null."""
    inference = Inference(images(3), None, "mine", tuple((name, False) for name in OUTPUTS))
    body, length = protocol.render(inference, result(3), model="guard", version="1")
    answer = json.loads(body)
    assert length is None
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("mine", "guard", "1")
    assert [(o["name"], o["datatype"]) for o in answer["outputs"]] == [*OUTPUT_TYPES.items()]
    assert answer["outputs"][0]["shape"] == [3, 2]
    assert answer["outputs"][4]["data"] == [None] * 3


def test_answer_in_binary() -> None:
    """Tensors lie behind the header in its order, each as long as it says."""
    inference = Inference(images(3), None, None, (("is_adversarial", True), ("label", False), ("score", True)))
    body, length = protocol.render(inference, result(3), model="guard", version="1")
    assert length is not None
    head = json.loads(body[:length])
    assert "id" not in head
    sizes = [output.get("parameters", {}).get("binary_data_size") for output in head["outputs"]]
    assert sizes == [3, None, 12]
    np.testing.assert_array_equal(np.frombuffer(body, "|b1", 3, length), result(3).is_adversarial)
    np.testing.assert_array_equal(np.frombuffer(body, "<f4", 3, length + 3), result(3).score)
    assert len(body) == length + 15


def test_outputs_asked_for() -> None:
    """Only those, in that order, and in binary where the request or the output says so."""
    asked = [{"name": "score"}, {"name": "label", "parameters": {"binary_data": False}}]
    body = plain(images(1), outputs=asked, parameters={"binary_data_output": True})
    assert protocol.parse(body, CONTRACT).outputs == (("score", True), ("label", False))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not valid"),
        (b"{", "not valid"),
        (b"[" * 100_000, "not valid"),
        (b"\xff\xfe", "not valid"),
        (b"{}", "inputs"),
        (b'{"inputs": []}', "no tensor 'input'"),
        (request(name="image"), "unknown input 'image'"),
        (request(datatype="FP64"), "expected 'FP32'"),
        (request(datatype="BYTES"), "expected [files], or 'FP32' [batch, 3, 4, 5]"),
        (request(shape=[0, *SHAPE]), "expected [batch, 3, 4, 5]"),
        (request(shape=[-1, *SHAPE]), "expected [batch, 3, 4, 5]"),
        (request(shape=[]), "expected [batch, 3, 4, 5]"),
        (request(shape=[1, 3, -4, -5]), "expected [batch, 3, 4, 5]"),
        (request(shape=[2**62, *SHAPE]), "at most 8"),
        (request(shape=[2**70, *SHAPE]), "not valid"),
        (request(shape=[1.5, *SHAPE]), "not valid"),
        (request(shape=[1, *SHAPE]).replace(b"[1,", b"[1" + b"0" * 5000 + b","), "not valid"),
        (request(parameters={"priority": 1}).replace(b": 1}", b": 1" + b"0" * 5000 + b"}"), "not valid"),
        (request(parameters={"priority": {}}), "not valid"),
        (request(shape=[1, 2**32, 2**32, 4]), "expected [batch, 3, 4, 5]"),
        (request(shape=[1] * 9), "not valid"),
        (request(data=[0.5]), "has shape [1]"),
        (request(data=[]), "has shape [0]"),
        (request(data="0.5"), "not valid"),
        (request(data=["0.5"] * 60), "not valid"),
        (request(data=[True] * 60), "not valid"),
        (request(data=[None] * 60), "not valid"),
        (request(data=[[[[0.5]]]]), "flat or nested"),
        (request(data=[[[[0.5], [0.5, 0.5]]]]), "ragged"),
        (request(data=[math.nan] * 60), "not valid"),
        (request(parameters={"shared_memory_region": "mine"}), "'shared_memory_region' is not offered"),
        (request(parameters={"binary_data_size": 240}), "needs 240 bytes"),
        (request(parameters={"binary_data_size": -240}), "expected 240"),
        (request(parameters={"binary_data_size": 2**62}), "expected 240"),
        (request(parameters={"binary_data_size": "240"}), "expected 240"),
        (plain(images(9)), "at most 8"),
        (plain(images(1), id=7), "not valid"),
        (plain(images(1), id="a" * 1000), "not valid"),
        (plain(images(1), outputs=[{"name": "secret"}]), "unknown output 'secret'"),
        (plain(images(1), outputs=[{"name": "score"}] * 2), "asked for twice"),
        (plain(images(1), outputs=[{"name": "score", "parameters": {"classification": 3}}]), "'classification'"),
        (plain(images(1), parameters={"binary_data_output": "yes"}), "true or false"),
        (plain(images(1)) + b"x", "not valid"),
    ],
)
def test_refused(body: bytes, told: str) -> None:
    """A request that makes no sense is told what is wrong with it."""
    with pytest.raises(RequestError) as refused:
        protocol.parse(body, CONTRACT)
    assert told in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("length", ["", "-1", "0", "1e3", "999999999", "9" * 5000, "١٢", " 12", "12.0"])
def test_header_length_that_makes_no_sense(length: str) -> None:
    """The length of the header is a number of bytes that are there."""
    body, _ = binary(images(1))
    with pytest.raises(RequestError):
        protocol.parse(body, CONTRACT, header_length=length)


def test_bytes_that_belong_to_nothing() -> None:
    """Tensors fill the body to the last byte."""
    body, headers = binary(images(1))
    length = headers["Inference-Header-Content-Length"]
    for wrong, told in ((body + b"x", "1 bytes at the end"), (body[:-1], "needs 240 bytes")):
        with pytest.raises(RequestError, match=told):
            protocol.parse(wrong, CONTRACT, header_length=length)


def test_json_has_a_limit_of_its_own() -> None:
    """Numbers in JSON take many times their memory; the binary form goes through."""
    tight = Contract("FP32", SHAPE, 2, 8, most_json=500)
    with pytest.raises(RequestError, match="send tensors in binary") as refused:
        protocol.parse(plain(images(3)), tight)
    assert refused.value.status == 413
    body, headers = binary(images(3))
    assert len(protocol.parse(body, tight, header_length=headers["Inference-Header-Content-Length"]).x) == 3


def test_numbers_beyond_float32_become_infinite() -> None:
    """They are let through for the gate to refuse with the others that are not finite."""
    assert np.isinf(protocol.parse(request(data=[1e300] * 60), CONTRACT).x).all()


THRESHOLD = {"name": "threshold", "shape": [1], "datatype": "FP32", "data": [0.25]}


def with_threshold(**changed: Any) -> bytes:
    """A request that brings its own threshold."""
    made = json.loads(plain(images(1)))
    made["inputs"].append({**THRESHOLD, **changed})
    return json.dumps(made).encode()


def test_clients_choose_no_threshold() -> None:
    """An attacker would choose one, so it takes the operator's leave."""
    with pytest.raises(RequestError, match="does not let clients choose"):
        protocol.parse(with_threshold(), CONTRACT)
    allowed = Contract("FP32", SHAPE, 2, 8, allow_threshold=True)
    assert protocol.parse(with_threshold(), allowed).threshold == 0.25
    with pytest.raises(RequestError, match=r"expected \[1\]"):
        protocol.parse(with_threshold(shape=[2], data=[1, 2]), allowed)


def test_nan_is_no_threshold() -> None:
    """It would flag everything, or nothing."""
    x = images(1)
    tensors = [
        {"name": "input", "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}},
        {"name": "threshold", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
    ]
    head = msgspec.json.encode({"inputs": tensors})
    body = head + x.tobytes() + np.float32(np.nan).tobytes()
    with pytest.raises(RequestError, match="NaN"):
        protocol.parse(body, Contract("FP32", SHAPE, 2, 8, allow_threshold=True), header_length=str(len(head)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["input", "threshold", "x"]) | JSON,
        "shape": st.sampled_from([[1, *SHAPE], [1], []]) | st.lists(st.integers(), max_size=5) | JSON,
        "datatype": st.sampled_from(["FP32", "UINT8", "BOOL"]) | JSON,
        "data": st.just([0.5] * 60) | st.lists(st.floats() | st.integers(), max_size=3) | JSON,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.just(240) | JSON}) | JSON,
    },
)
OUTPUT = st.fixed_dictionaries(
    {"name": st.sampled_from(list(OUTPUTS)) | JSON},
    optional={"parameters": st.fixed_dictionaries({}, optional={"binary_data": JSON}) | JSON},
)
REQUEST = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=3) | JSON},
    optional={
        "id": st.text(max_size=4) | JSON,
        "outputs": st.lists(OUTPUT, max_size=3) | JSON,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_output": JSON}) | JSON,
    },
)


def answered_or_refused(body: bytes, length: str | None, allow_threshold: bool = False) -> None:
    """Parse, and answer what could be parsed."""
    contract = Contract("FP32", SHAPE, 2, 8, allow_threshold=allow_threshold)
    refusal = None
    try:
        inference = protocol.parse(body, contract, header_length=length)
    except RequestError as error:
        refusal = error
    if refusal is not None:
        assert list(json.loads(protocol.error(str(refusal)))) == ["error"]
        assert 400 <= refusal.status < 500
        return
    assert inference.x.shape[1:] == SHAPE
    head, size = protocol.render(inference, result(len(inference.x)), model="guard", version="1")
    json.loads(head[:size])


@given(body=st.binary(max_size=200), length=st.none() | st.text(max_size=5))
def test_any_bytes(body: bytes, length: str | None) -> None:
    """No body raises anything but the protocol's error."""
    answered_or_refused(body, length)


@given(request=REQUEST, tail=st.sampled_from([b"", bytes(240), bytes(244), b"x"]), allow=st.booleans(), data=st.data())
def test_any_request_that_looks_like_one(request: Any, tail: bytes, allow: bool, data: st.DataObject) -> None:
    """Nor does any JSON of about the right form, with and without bytes behind it."""
    head = json.dumps(request).encode()
    length = data.draw(st.none() | st.just(str(len(head))))
    answered_or_refused(head + tail, length, allow)


@given(position=st.integers(0, 400), byte=st.integers(0, 255))
def test_any_flipped_byte(position: int, byte: int) -> None:
    """Nor does a sound request with one byte changed."""
    body, headers = binary(images(1))
    broken = bytearray(body)
    broken[position % len(body)] = byte
    answered_or_refused(bytes(broken), headers["Inference-Header-Content-Length"])
