"""A graph on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import calibrated
from support.gates import MANIFEST, graph
from support.models import TINY

from ce_detect.calibrate import samples
from ce_detect.core.errors import ExportError, MissingExtraError
from ce_detect.export import optimize, parity, writer
from ce_detect.guard.detected_model import DetectedModel


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_an_absent_package_names_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, exporting says which."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*ce-detect\[onnx\]"):
        writer.check_installed()


def test_a_graph_that_judges_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check comes before the file: what was there stays, and nothing is left beside it."""
    made, _ = graph()
    path = tmp_path / "guard.onnx"
    path.write_bytes(b"before")
    original = optimize.optimized

    def bent(model: Any, *arguments: Any, **named: Any) -> Any:
        (bias,) = [t for t in model.graph.initializer if list(t.dims) == [TINY["plain"].classes]][:1]
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, bias.name))
        return original(model, *arguments, **named)

    monkeypatch.setattr(optimize, "optimized", bent)
    with pytest.raises(ExportError, match=r"judges otherwise .* scores differ by up to"):
        writer.write(made, MANIFEST, path)
    assert [file.name for file in tmp_path.iterdir()] == ["guard.onnx"]
    assert path.read_bytes() == b"before"


def test_a_calibrated_detector_exports(tmp_path: Path) -> None:
    """The graph of a calibrated detector agrees on clean and attacked images it never saw, and is hardly larger."""
    guard = calibrated.guard()
    path = tmp_path / "guard.onnx"
    found = guard.export(path)
    assert found.agree
    assert found.inputs == 64  # clean and attacked images of the calibration
    opened = parity.session(path)
    assert parity.manifest_of(opened) == guard.manifest
    for x in calibrated.fresh():
        assert parity.differences(guard.gate, opened, x).agree
        np.testing.assert_array_equal(opened.run(["is_adversarial"], {"input": x})[0], guard(x).is_adversarial)
    weights = sum(tensor.numel() * 4 for tensor in guard.model.parameters())
    assert path.stat().st_size < 1.1 * weights + 1e6
    assert [file.name for file in tmp_path.iterdir()] == ["guard.onnx"]


def test_a_loaded_detector_exports_on_what_calibration_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process finds the sample in this machine's cache."""
    guard = calibrated.guard()
    guard.save(tmp_path / "guard.safetensors")
    monkeypatch.setenv("CE_DETECT_CACHE", str(calibrated.cache()))
    loaded = DetectedModel.load(tmp_path / "guard.safetensors", calibrated.fashion_cnn())
    sample = samples.kept(loaded.gate)
    assert sample is not None
    assert len(sample) == 64
    assert loaded.export(tmp_path / "guard.onnx") == guard.export(tmp_path / "same.onnx")


def test_a_loaded_detector_exports_on_given_images(tmp_path: Path) -> None:
    """Nothing of the calibration is in memory then; the images that are given are judged instead."""
    calibrated.guard().save(tmp_path / "guard.safetensors")
    guard = DetectedModel.load(tmp_path / "guard.safetensors", calibrated.fashion_cnn())
    found = guard.export(tmp_path / "guard.onnx", data=calibrated.fresh()[0][:20], uint8=True)
    assert found.agree
    assert found.inputs == 20
    assert parity.sample(guard.gate).shape == (64, 1, 28, 28)
