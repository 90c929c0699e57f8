"""The gate without torch: the same verdicts and the same errors as in PyTorch, from a fused graph alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import fused
from support.fused import SHAPE, images, write_graph

from ce_detect.core.errors import AbstainedError, InputError, UsageError
from ce_detect.data import tensors
from ce_detect.runtime import Gate
from ce_detect.verdict.policies import Abstain

OPT_IN = pytest.mark.skipif(
    os.environ.get("CE_DETECT_OPT_IN") != "1", reason="installs from a package index: set CE_DETECT_OPT_IN=1"
)

HEAVY = ("torch", "sklearn", "scipy", "art", "joblib", "onnx", "matplotlib")


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """A gate that takes grey levels."""
    return Gate(write_graph(tmp_path_factory.mktemp("uint8"), uint8=True))


def levels(count: int) -> Any:
    """Grey levels, channels last."""
    return np.rint(255 * images(count)).astype(np.uint8).transpose(0, 2, 3, 1).copy()


def test_verdicts_are_those_of_the_graph(gate: Gate) -> None:
    """Every field is what the graph computes, in the types of its outputs, in more than one chunk and in one."""
    x = images(21)
    assert gate.together == 8
    for count in (1, 8, 21):
        result = gate(x[:count])
        mean = x[:count].mean((1, 2, 3))
        np.testing.assert_allclose(result.score, mean, rtol=1e-5)
        np.testing.assert_allclose(result.p_value, 1 - mean, rtol=1e-5)
        np.testing.assert_array_equal(result.logits, x[:count, :2, 0, 0])
        np.testing.assert_array_equal(result.label, x[:count, :2, 0, 0].argmax(1))
        np.testing.assert_array_equal(result.is_adversarial, result.score > fused.THRESHOLD)
        assert result.threshold == gate.threshold == fused.THRESHOLD
        assert (result.label.dtype, result.is_adversarial.dtype) == (np.int64, bool)
    assert 0 < gate(x).is_adversarial.sum() < 21


def test_threshold_of_ones_own(path: Path, gate: Gate) -> None:
    """Another threshold changes the verdicts and nothing else; what is no number is refused."""
    x = images(21)
    usual, other = gate(x), Gate(path, threshold=0.3)(x)
    np.testing.assert_array_equal(usual.score, other.score)
    np.testing.assert_array_equal(other.is_adversarial, other.score > np.float32(0.3))
    assert other.threshold == float(np.float32(0.3))
    assert other.is_adversarial.sum() > usual.is_adversarial.sum()
    with pytest.raises(UsageError, match="threshold = nan"):
        Gate(path, threshold=float("nan"))


def test_policies(gate: Gate) -> None:
    """A flagged input keeps its label, loses it, gets another one, or is an error."""
    x = images(21)
    flagged = gate(x).is_adversarial
    np.testing.assert_array_equal(gate(x, policy="abstain").label, np.where(flagged, -1, gate(x).label))
    asked = gate(x, policy=lambda bad: np.full(len(bad), 7)).label
    np.testing.assert_array_equal(asked, np.where(flagged, 7, gate(x).label))
    with pytest.raises(AbstainedError):
        gate(x, policy=Abstain(raise_error=True))
    with pytest.raises(UsageError, match="'maybe'"):
        gate(x, policy="maybe")


def test_grey_levels(grey: Gate, gate: Gate) -> None:
    """A graph for uint8 judges grey levels as the other one judges the same pixels scaled."""
    x = levels(21)
    as_floats = gate((x.transpose(0, 3, 1, 2) / 255).astype(np.float32))
    np.testing.assert_allclose(grey(x).score, as_floats.score, rtol=1e-5)
    np.testing.assert_array_equal(grey(x[::-1]).label, grey(x).label[::-1])
    assert (grey.takes_uint8, gate.takes_uint8) == (True, False)


def test_threads_share_a_gate(gate: Gate) -> None:
    """Several threads get the verdicts that one gets."""
    x, found = images(40), {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: gate(x[i : i + 10])})) for i in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(30):
        np.testing.assert_array_equal(found[i].score, gate(x[i : i + 10]).score)


def test_exported_gate_judges_as_the_detected_model(tmp_path: Path) -> None:
    """What ``export`` writes gives here what the calibrated detector gives in PyTorch."""
    writer = pytest.importorskip("ce_detect.export.writer")
    from support import calibrated

    guard = calibrated.guard()
    writer.write(guard.gate, guard.manifest, tmp_path / "guard.onnx")
    gate, (clean, attacked) = Gate(tmp_path / "guard.onnx"), calibrated.fresh()
    x = np.concatenate([clean, attacked])
    here, there = gate(x, policy="abstain"), guard(x, policy="abstain")
    assert here.threshold == there.threshold
    assert gate.manifest == guard.manifest
    for name in ("logits", "score", "probability"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), rtol=1e-3, atol=1e-3)
    for name in ("label", "is_adversarial"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    for name in ("logits", "label", "score", "p_value", "probability", "is_adversarial"):
        assert getattr(here, name).dtype == getattr(there, name).dtype


WRONG = {
    "channels last": images(2).transpose(0, 2, 3, 1),
    "single": images(1)[0],
    "empty": images(1)[:0],
    "integers": (images(2) * 255).astype(np.uint8),
    "levels": images(2) * 255,
    "normalised": (images(2) - 0.5) / 0.2,
    "nan": np.where(np.arange(4)[:, None, None, None] == 2, np.nan, images(4)),
    "size": images(2)[:, :, :2],
    "complex": images(2).astype(complex),
}


@pytest.mark.parametrize("x", WRONG.values(), ids=WRONG)
def test_errors_are_those_of_pytorch(gate: Gate, x: Any) -> None:
    """What cannot be judged is refused in the words of the detected model."""
    with pytest.raises(InputError) as there:
        tensors.checked(x, input_shape=SHAPE, bounds=(0.0, 1.0))
    with pytest.raises(InputError) as here:
        gate(x)
    assert str(here.value) == str(there.value)


def test_tensors_are_turned_away(gate: Gate) -> None:
    """Where torch is not needed, only NumPy arrays are taken."""
    with pytest.raises(InputError, match=r"got Tensor, expected a NumPy array; expected \(batch, 3, 4, 5\)"):
        gate(torch.from_numpy(images(2)))


def test_dark_pixels_are_called_out(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """Pixels that were divided by 255 twice are judged, with the warning of PyTorch."""
    gate(images(2) / 255)
    assert "divided by 255 once too often" in caplog.text


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images(2), r"got float32 pixels, expected bytes 0-255 \(uint8\) \(batch, 4, 5, 3\)"),
        (levels(2).transpose(0, 3, 1, 2), r"got shape \(2, 3, 4, 5\).*; pass x\.transpose\(0, 2, 3, 1\)"),
        (levels(2)[0], r"got shape \(4, 5, 3\)"),
        (levels(2)[:0], "got an empty batch"),
        (levels(2).tolist(), "got list, expected a NumPy array"),
    ],
)
def test_grey_levels_are_checked(grey: Gate, x: Any, message: str) -> None:
    """A graph that takes uint8 takes nothing else."""
    with pytest.raises(InputError, match=message):
        grey(x)


def test_fingerprint_is_of_the_content(path: Path, gate: Gate, tmp_path: Path) -> None:
    """A copy has the same, another graph has another."""
    (tmp_path / "copy.onnx").write_bytes(path.read_bytes())
    assert Gate(tmp_path / "copy.onnx").fingerprint == gate.fingerprint
    assert Gate(write_graph(tmp_path, uint8=True)).fingerprint != gate.fingerprint


USED = """
import sys
import numpy as np
from ce_detect.runtime import Gate
gate = Gate(sys.argv[1], threads=1)
result = gate(np.load(sys.argv[2]), policy="abstain")
print(int(result.is_adversarial.sum()), type(result).__name__)
"""


def test_torch_is_not_needed(path: Path, gate: Gate, tmp_path: Path) -> None:
    """A gate runs in a process where neither torch nor scikit-learn nor ART can be imported."""
    x = images(30)
    np.save(tmp_path / "x.npy", x)
    source = f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))\n{USED}"
    command = [sys.executable, "-c", source, str(path), str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(int(gate(x).is_adversarial.sum())), "GateResult"], done.stderr


@OPT_IN
def test_extra_brings_no_torch(path: Path, gate: Gate, tmp_path: Path) -> None:
    """A fresh environment with the extra ``scan``, which brings ``runtime``, has no torch; gate and scan run in it."""
    x, root = images(30), Path(__file__).parents[2]
    np.save(tmp_path / "x.npy", x)
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: object) -> str:
        texts = [str(part) for part in command]
        done = subprocess.run(texts, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(programs / "python", "-m", "pip", "install", "-q", "-c", root / "constraints.txt", f"{root}[runtime,scan]")
    installed = run(programs / "python", "-m", "pip", "list", "--format=freeze").lower()
    assert not {"torch", "scikit-learn", "scipy", "adversarial-robustness-toolbox", "joblib"} & {
        line.partition("==")[0] for line in installed.splitlines()
    }
    told = run(programs / "python", "-c", USED, path, tmp_path / "x.npy")
    assert told.split() == [str(int(gate(x).is_adversarial.sum())), "GateResult"]
    told = run(programs / "ce-detect", "scan", path, tmp_path / "x.npy", "--out", tmp_path / "out.parquet", "--json")
    assert '"inputs": 30' in told
