"""The MLflow example, run as a user runs it."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ce_detect.classifiers.loading import load_model
from ce_detect.data import load_data
from ce_detect.guard.detected_model import DetectedModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "mlflow_gate.py"

pytestmark = [
    pytest.mark.skipif(os.environ.get("CE_DETECT_OPT_IN") != "1", reason="set CE_DETECT_OPT_IN=1 to log to MLflow"),
    pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs pip install mlflow"),
]


def test_a_logged_gate_judges_as_the_one_that_was_calibrated(tmp_path: Path) -> None:
    """What comes out of the store gives the verdicts of the files in it, and nothing in it is a pickle."""
    run = subprocess.run([sys.executable, EXAMPLE, tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (model,) = (tmp_path / "artifacts" / "models").glob("*/artifacts")
    stored = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert {"mlflow_gate.py", "artifacts/guard.safetensors", "artifacts/weights.safetensors"} <= stored
    assert not [name for name in stored if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib"))]
    assert "loader_module: mlflow.pyfunc.loaders.code_model" in (model / "MLmodel").read_text()

    bare = load_model("ce_detect.classifiers.loading:fashion_cnn", model / "artifacts" / "weights.safetensors")
    guard = DetectedModel.load(model / "artifacts" / "guard.safetensors", bare)
    expected = guard(load_data("demo").x[600:620])
    judged = list(csv.DictReader(io.StringIO(run.stdout)))
    assert [int(row["label"]) for row in judged] == expected.label.tolist()
    np.testing.assert_allclose([float(row["score"]) for row in judged], expected.score, rtol=1e-4)
    assert [row["is_adversarial"] == "True" for row in judged] == expected.is_adversarial.tolist()
