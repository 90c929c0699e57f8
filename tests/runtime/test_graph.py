"""The file of a fused graph: which are refused, and how one runs on a device."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from support import fused
from support.fused import SHAPE, images, metadata, write_graph

from ce_detect.artifacts import graph_digest, onnx_bytes
from ce_detect.core.errors import ArtifactError
from ce_detect.runtime import Gate


@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 0.9, 0.99, 0.999])
def test_truncated_files_are_refused(path: Path, tmp_path: Path, share: float) -> None:
    """Wherever a file ends too early, it is an error of the artifact."""
    whole = path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ArtifactError, match=r"cut\.onnx"):
        Gate(tmp_path / "cut.onnx")


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """No file, no ONNX, ONNX of others, and a graph that is no gate."""
    with pytest.raises(ArtifactError, match=r"no exported gate at .*ce-detect export"):
        Gate(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ArtifactError, match="not a whole ONNX file"):
        Gate(tmp_path / "text.onnx")
    with pytest.raises(ArtifactError, match="not a gate that ce-detect exported"):
        Gate(write_graph(tmp_path, said={"author": "somebody"}))
    with pytest.raises(ArtifactError, match="that ONNX Runtime can run"):
        Gate(write_graph(tmp_path, opset=1))
    with pytest.raises(ArtifactError, match="gives logits, score, which no gate does"):
        Gate(write_graph(tmp_path, outputs=("logits", "score")))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (metadata(format="2", version="9.9"), r"has format '2', .* reads format '1'; it was written by ce-detect 9\.9"),
        (metadata(manifest="{"), "manifest of .* cannot be read"),
        (metadata({}), "manifest of .* cannot be read"),
        (metadata(threshold="high"), "manifest of .* cannot be read"),
        (metadata(threshold="inf"), "threshold of .* is inf, expected a finite number"),
        ({**metadata(), "ce_detect.manifest": "[" * 200_000}, "manifest of .* cannot be read .*lie in each other"),
        ({**metadata(), "ce_detect.manifest": "9" * 5000}, "manifest of .* cannot be read"),
        (metadata({**fused.MANIFEST, "model": {"input_shape": [10**30, 4, 5], "bounds": [0, 1]}}), "100 bits"),
        (metadata({**fused.MANIFEST, "model": {"input_shape": [3, 4, 5], "bounds": [0, 10**400]}}), "whole number"),
        (
            metadata({**fused.MANIFEST, "model": {"input_shape": [3, 4, 5], "bounds": [1, 0]}}),
            "expected the smaller one first",
        ),
        (metadata({**fused.MANIFEST, "model": {"input_shape": [3, 4], "bounds": [0, 1]}}), "cannot be read"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, said: dict[str, str], message: str) -> None:
    """What a graph says of itself must be what this version reads."""
    with pytest.raises(ArtifactError, match=message):
        Gate(write_graph(tmp_path, said=said))


def test_random_mutations(path: Path, tmp_path: Path) -> None:
    """A damaged graph is refused before ONNX Runtime opens it: none gives other numbers."""
    content, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(320):
        changed = bytearray(content)
        changed[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
        (tmp_path / "guard.onnx").write_bytes(changed)
        with pytest.raises(ArtifactError, match=r"guard\.onnx"):
            Gate(tmp_path / "guard.onnx")


def test_weights_in_another_file_are_refused(path: Path, tmp_path: Path) -> None:
    """A graph that somebody sealed anew reads no file beside it, nor does a pinned one."""
    model = onnx.load(path)
    del model.metadata_props[-1]
    (axes,) = (tensor for tensor in model.graph.initializer if tensor.name == "axes")
    (tmp_path / "axes.bin").write_bytes(axes.raw_data)
    axes.ClearField("raw_data")
    axes.data_location = onnx.TensorProto.EXTERNAL
    axes.external_data.add(key="location", value="axes.bin")
    content = graph_digest.sealed(model.SerializeToString())
    (tmp_path / "guard.onnx").write_bytes(content)
    for asked in ({}, {"sha256": hashlib.sha256(content).hexdigest()}):
        with pytest.raises(ArtifactError, match="weights in another file"):
            Gate(tmp_path / "guard.onnx", **asked)


def test_metadata_that_is_no_text(path: Path, tmp_path: Path) -> None:
    """The error is ours."""
    bad = onnx_bytes.entry("key", "xx").replace(b"xx", b"\xff\xfe")
    (tmp_path / "guard.onnx").write_bytes(graph_digest.sealed(path.read_bytes() + bad))
    with pytest.raises(ArtifactError, match=r"guard\.onnx does not say what it is: its metadata is no text"):
        Gate(tmp_path / "guard.onnx")


def test_a_format_that_is_not_onnx(path: Path, tmp_path: Path) -> None:
    """ONNX Runtime has one of its own, which is not looked into and so not opened, whatever checksum it bears."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "guard.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    content = (tmp_path / "guard.ort").read_bytes()
    assert onnxruntime.InferenceSession(content + b"more", providers=["CPUExecutionProvider"]).get_inputs()
    (tmp_path / "guard.onnx").write_bytes(graph_digest.sealed(content))
    with pytest.raises(ArtifactError, match="that ONNX Runtime can run"):
        Gate(tmp_path / "guard.onnx")


def test_a_file_that_is_pinned(path: Path, tmp_path: Path) -> None:
    """A pin takes that file alone; one without a checksum, as versions before wrote them, is taken by its pin."""
    old = path.read_bytes()[: path.read_bytes().rindex(b"ce_detect.digest") - 4]
    (tmp_path / "old.onnx").write_bytes(old)
    with pytest.raises(ArtifactError, match="has no checksum of itself"):
        Gate(tmp_path / "old.onnx")
    pin = hashlib.sha256(old).hexdigest()
    assert Gate(tmp_path / "old.onnx", sha256=pin).fingerprint == pin
    with pytest.raises(ArtifactError, match="it is another file"):
        Gate(path, sha256=pin)


def test_bound_outputs_are_the_same(gate: Gate) -> None:
    """The path that a CUDA device takes, with inputs and outputs bound to a device: here the CPU."""
    x, graph = images(5), gate._graph
    feed = {"input": x, "threshold": np.array(0.4, np.float32)}
    for bound, plain in zip(graph._run_bound(feed), graph.run(x, 0.4), strict=True):
        np.testing.assert_array_equal(bound, plain)


def test_cuda_binds_its_device(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA every input is placed on the device of the provider, and every output stays there until all are done."""
    calls: list[tuple[Any, ...]] = []
    binding = SimpleNamespace(
        bind_ortvalue_input=lambda *bound: calls.append(("input", *bound)),
        bind_output=lambda *bound: calls.append(("output", *bound)),
        copy_outputs_to_cpu=lambda: [np.zeros(1)] * 6,
    )
    session = SimpleNamespace(io_binding=lambda: binding, run_with_iobinding=lambda bound: calls.append(("run",)))
    graph = gate._graph
    monkeypatch.setattr(graph, "_session", session)
    monkeypatch.setattr(graph, "_device", "cuda")
    monkeypatch.setattr(graph, "_device_id", 1)
    monkeypatch.setattr(graph, "_placed", lambda value, device, number: (value.shape, device, number))
    assert len(graph.run(images(2), 0.5)) == 6
    assert calls == [
        ("input", "input", ((2, *SHAPE), "cuda", 1)),
        ("input", "threshold", ((), "cuda", 1)),
        *(("output", name, "cuda", 1) for name in fused.KINDS),
        ("run",),
    ]
