"""A calibration for a graph in fewer bits."""

from __future__ import annotations

import functools
import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from support import calibrated
from support.gates import black_box
from support.models import tiny_classifier

from ce_detect.artifacts.file import Artifact
from ce_detect.artifacts.manifest import DeployPart
from ce_detect.calibrate import deployment
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError, MissingExtraError, ModelError
from ce_detect.data import splits
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.runtime import Gate
from ce_detect.verdict import conformal

RECIPE = replace(calibrated.QUICK, splits={"fit": 0.45, "select": 0.2, "calibrate": 0.3, "test": 0.05})
Lower = Literal["fp16", "int8"]


@functools.cache
def guard(precision: Lower) -> DetectedModel:
    """A detector of the demo model, calibrated for its graph."""
    return DetectedModel(fashion_cnn()).calibrate(calibrated.images(), deploy=precision, **options())


def options() -> dict[str, Any]:
    """Of every calibration here."""
    return {"recipe": RECIPE, "jobs": 1, "cache": calibrated.cache(), **calibrated.SETTINGS}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_threshold_is_that_of_the_exported_graph(precision: Lower, tmp_path: Path) -> None:
    """The graph scores the images of *calibrate* as the artifact says, so the promise holds for it; so do figures."""
    made = guard(precision)
    assert made.export(tmp_path / "guard.onnx").precision == precision
    graph, x = Gate(tmp_path / "guard.onnx"), calibrated.images().x
    parts = splits.split(splits.identities(x), RECIPE.splits, 0)
    scores = np.sort(graph(x[parts["calibrate"]]).score)
    np.testing.assert_allclose(scores, made.gate.clean_scores, atol=1e-5)
    assert made.threshold == graph.threshold == conformal.threshold(scores, 0.1)
    assert np.abs(scores - np.sort(made(x[parts["calibrate"]]).score)).max() > 1e-4
    test = made.manifest["figures"]["test"]
    assert test["clean"]["n"] == len(parts["test"])
    assert test["clean"]["false_positive_rate"] == pytest.approx(graph(x[parts["test"]]).is_adversarial.mean())
    assert made.manifest["deploy"]["precision"] == precision
    clean, attacked = calibrated.fresh()
    assert graph(clean).is_adversarial.mean() < 0.1
    assert graph(attacked).is_adversarial.mean() > 0.5


@pytest.mark.slow
def test_a_loaded_artifact_exports_the_same_graph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All that it takes is in the file; figures of the gate in PyTorch are told apart."""
    guard("int8").save(tmp_path / "guard.safetensors")
    assert Artifact.load(tmp_path / "guard.safetensors").manifest == guard("int8").calibrated.manifest
    loaded = DetectedModel.load(tmp_path / "guard.safetensors", fashion_cnn())
    for made, name in ((guard("int8"), "first.onnx"), (loaded, "second.onnx")):
        made.export(tmp_path / name, data=calibrated.fresh()[0][:40])
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    assert loaded.export(tmp_path / "levels.onnx", data=calibrated.fresh()[0][:40], uint8=True).agree
    with caplog.at_level(logging.WARNING, "ce_detect"):
        loaded.evaluate(calibrated.fresh()[0][:10], attacks=(), corruptions=())
    assert "that of the exported graph in int8; these figures are of the gate in PyTorch" in caplog.text


def test_scores_that_are_no_numbers_are_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A float16 above 65504 is infinite. A CPU computes with none, so what it says of them is called out."""
    data = SimpleNamespace(clean=lambda _: calibrated.fresh()[0][:40], beside={})
    graph = SimpleNamespace(providers=("CPUExecutionProvider",))
    scores = np.full(40, np.nan, np.float32)
    monkeypatch.setattr(deployment, "_part", lambda *_: (DeployPart(precision="fp16"), graph))
    monkeypatch.setattr(deployment, "_judged", lambda *_: (scores, np.zeros(40, np.int64)))
    asked = CalibrationSettings.of(deploy="fp16", **options())
    with pytest.raises(CalibrationError, match=r"deploy = 'fp16': scores .* not finite.*another precision"):
        deployment.deployed(calibrated.guard().gate, data, asked)  # type: ignore[arg-type]
    assert "rounds the weights alone and computes in float32" in caplog.text


def check(classifier: Classifier, **changes: Any) -> None:
    """Ask for eight bits, or for something else."""
    deployment.check(classifier, CalibrationSettings.of(**{"recipe": calibrated.QUICK, "deploy": "int8", **changes}))


def test_a_gate_in_float32_is_not_looked_at() -> None:
    """Whether it can be exported is asked when it is."""
    check(tiny_classifier("branching"), deploy="fp32")


def test_what_has_no_such_graph_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hooked model, a black box, an intervention without a graph, a package that is not there."""
    with pytest.raises(ModelError, match="could not be captured as a graph"):
        check(tiny_classifier("branching"))
    with pytest.raises(CalibrationError, match=r"ONNX model cannot be taken apart.*Convert the model itself to int8"):
        check(black_box("plain", tmp_path))
    with pytest.raises(ModelError, match=r"GradientStep.*takes a gradient at run time"):
        check(tiny_classifier("plain"), recipe=replace(calibrated.QUICK, interventions=({"kind": "GradientStep"},)))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"ce-detect\[onnx\]"):
        check(tiny_classifier("plain"))


def test_a_model_on_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are made on the CPU."""
    classifier = tiny_classifier("plain")
    monkeypatch.setattr(type(classifier), "device", torch.device("meta"))
    with pytest.raises(CalibrationError, match=r"the model is on meta; calibrate with model.cpu\(\)"):
        check(classifier)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deploy": "int4"}, r"deploy = 'int4' is none of 'fp32', 'fp16', 'int8'"),
        ({"deploy": "int8", "cascade": True}, "cascade and deploy = 'int8' exclude each other"),
        ({"deploy": "fp16", "harden": 1}, "harden and deploy = 'fp16' exclude each other"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    """With the reason."""
    with pytest.raises(CalibrationError, match=message):
        CalibrationSettings.of(recipe="quick", **changes)
