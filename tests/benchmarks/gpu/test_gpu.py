"""The prepared run on a GPU, on the CPU: what it measures, and that it fails loudly."""

from __future__ import annotations

import functools
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import gates
from support.models import as_array, tiny_classifier, tiny_images, tiny_model

from benchmarks.gpu import gpu, graphs, parts
from benchmarks.program import read
from ce_detect import UsageError

RECIPE = """
head = "logistic"
splits = { fit = 0.5, select = 0.2, calibrate = 0.3, test = 0.0 }
attack = [{ kind = "fgsm" }]
intervention = [{ kind = "Flip" }]
"""


@functools.cache
def rig() -> parts.Rig:
    """A gate in front of a tiny model, and its graph."""
    (gate, graph), x = gates.graph(), tiny_images("plain", 12)
    guard: Any = SimpleNamespace(model=tiny_model("plain"), gate=gate)
    with torch.inference_mode():
        judged = gate(x)
    bare = parts.bare_graph(tiny_classifier("plain")).SerializeToString()
    return parts.Rig(guard, graph, bare, as_array(x), judged.score.numpy(), judged.is_adversarial.numpy(), (1, 4))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that is there, in few rounds."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")  # is put back after the test
    monkeypatch.setattr(parts, "ROUNDS", 2)


@pytest.fixture
def _at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither calibration nor export. Scores of a random head lie at its threshold: in half precision verdicts flip."""
    monkeypatch.setitem(parts.BOUNDS, "fp16", parts.Bound(0.25, 1.0))
    monkeypatch.setattr(gpu.Run, "_calibrated", lambda *_: rig().guard)
    monkeypatch.setattr(gpu.Run, "_exported", lambda *_: rig())


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """Run the program on the CPU, and return its exit code."""
    common = ["--device", "cpu", "--subjects", "demo", "--images", "300", "--judged", "6", "--batches", "1", "4"]
    monkeypatch.setattr(sys, "argv", ["gpu", *common, *options])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    return int(ended.value.code)


@pytest.mark.usefixtures("_at_hand")
def test_every_way_to_run_a_gate_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyTorch and ONNX Runtime, at each batch size and precision, all of which agree with the CPU; without TensorRT."""
    assert run(monkeypatch, "--without", "tensorrt", "--output", str(tmp_path / "gpu.json")) == 0
    (found,) = read(tmp_path / "gpu.json")["runs"]
    names = ("PyTorch eager", "PyTorch compiled", "cpu fp32", "cpu fp16")
    assert [row["name"] for row in found["rows"]] == [f"{name}, batch {batch}" for name in names for batch in (1, 4)]
    assert all(row["agrees"] and row["ratio"] > 0 and row["images"] == 12 for row in found["rows"])
    assert not found["failures"] + found["left_out"]
    *_, half = found["rows"]
    assert half["nodes"]["CPUExecutionProvider"] > 100
    assert 1e-5 < half["score"] < parts.BOUNDS["fp16"].score


@pytest.mark.usefixtures("_at_hand")
def test_what_goes_wrong_is_said_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores that are too far apart, TensorRT that is not there, and rows that there was no time for."""
    monkeypatch.setitem(parts.BOUNDS, "fp16", parts.Bound(1e-9, 0.0))
    monkeypatch.setattr(gpu, "SHARES", {**gpu.SHARES, "compiled": 0.0})
    assert run(monkeypatch) == 1
    said = capsys.readouterr()
    assert said.err.count("FAILED demo, cpu fp16") == 2
    assert "FAILED demo, cpu fp32" not in said.err
    assert "FAILED demo, compiled: TimeoutError: nothing was measured" in said.err
    assert "no time for PyTorch compiled, batch 4" in said.out
    assert "'TensorrtExecutionProvider' is not in the installed ONNX Runtime" in said.err
    assert "--without tensorrt leaves it out" in said.err


def test_a_machine_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program does not go on with the CPU by itself."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu.main()


def test_a_provider_that_leaves_its_work_to_the_cpu_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX Runtime does, without a word, where a provider's own libraries cannot be loaded."""
    onnxruntime = graphs.execution.onnxruntime()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(graphs.NAMES.values()))
    session, on_cpu = onnxruntime.InferenceSession, [graphs.NAMES["cpu"]]
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda graph, options, providers: session(graph, options, providers=on_cpu)
    )
    monkeypatch.setattr(graphs.execution, "onnxruntime", lambda: onnxruntime)
    for name in ("cuda", "tensorrt"):
        with pytest.raises(UsageError, match=f"{graphs.NAMES[name]} could not be loaded, only CPUExecutionProvider"):
            graphs.opened(rig().bare, graphs.wanted(name, "fp16", (3, 16, 16), 8))


def test_tensorrt_is_told_its_sizes_and_its_precision() -> None:
    """One engine for all batches; it converts by itself, and what it cannot run CUDA does."""
    (name, options), (other, _) = graphs.wanted("tensorrt", "fp16", (3, 32, 32), 128)
    assert (name, other) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_profile_min_shapes"] == "input:1x3x32x32"
    assert options["trt_profile_max_shapes"] == "input:128x3x32x32"
    assert options["trt_fp16_enable"] == "1"
    assert graphs.converted(b"as it is", "tensorrt", "fp16") == b"as it is"


def test_scores_that_are_no_numbers_do_not_agree() -> None:
    """Nor does a verdict that flips in float32."""
    x, cpu = np.zeros((2, 3, 16, 16), np.float32), torch.device("cpu")
    made = parts.Rig(rig().guard, b"", b"", x, np.ones(2, np.float32), np.array([True, False]), (2,))

    def agrees(score: list[float], flagged: list[bool]) -> bool:
        found = [(np.array(score, np.float32), np.array(flagged))]
        return bool(made.row("fp32", found, lambda: None, lambda: None, cpu)["agrees"])

    assert agrees([1.0, 1.0005], [True, False])
    assert not agrees([1.0, math.nan], [True, False])
    assert not agrees([1.0, 1.0], [True, True])


@pytest.mark.slow
def test_it_calibrates_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the recipe that is named, on the first images."""
    monkeypatch.setattr(gpu, "BUDGET", math.inf)
    monkeypatch.setitem(parts.BOUNDS, "fp16", parts.Bound(0.25, 0.1))  # of so few images
    recipe, output = tmp_path / "quick.toml", tmp_path / "gpu.json"
    recipe.write_text(RECIPE)
    assert run(monkeypatch, "--recipe", str(recipe), "--without", "tensorrt", "--output", str(output)) == 0
    (found,) = read(output)["runs"]
    assert len(found["rows"]) == 8
