"""ONNX files from calibration to verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support.calibrated import QUICK
from support.onnx_files import black_box_file, demo_file

from ce_detect import DetectedModel, Recipe, load_data
from ce_detect.cli import run
from ce_detect.core.errors import CalibrationError, ModelMismatchError
from ce_detect.demo.model import fashion_cnn
from ce_detect.runtime import Gate


@pytest.mark.slow
def test_a_black_box_is_calibrated_by_queries_alone(tmp_path: Path) -> None:
    """Gradient attacks are refused with the recipe that does without them; Square teaches a detector."""
    images = load_data("demo", limit=300)
    settings = {"fpr": 0.1, "budget": math.inf, "jobs": 1}
    guard = DetectedModel(black_box_file())
    with pytest.raises(CalibrationError, match=r"'pgd 6/255' takes gradients.*recipe 'black-box'"):
        guard.calibrate(images.x, images.y, recipe=QUICK, **settings)
    square = {"kind": "square", "eps": "16/255", "max_iter": 60}
    hopping = {"kind": "hopskipjump", "max_iter": 1, "max_eval": 20, "init_eval": 5, "init_size": 20}
    recipe = Recipe.parse("square", {
        "splits": {"fit": 0.5, "select": 0.2, "calibrate": 0.3, "test": 0.0}, "head": "logistic",
        "intervention": [{"kind": "Flip"}], "attack": [square, hopping],
    })  # fmt: skip
    guard.calibrate(images.x, images.y, recipe=recipe, **settings)
    guard.save(tmp_path / "guard.safetensors")
    loaded = DetectedModel.load(tmp_path / "guard.safetensors", black_box_file())
    np.testing.assert_array_equal(loaded(images.x[:20]).score, guard(images.x[:20]).score)
    assert {"relu", "penultimate"} <= set(loaded.manifest["model"]["sites"])
    _same_in_one_graph(loaded, images.x[:40], tmp_path / "fused.onnx")


def _same_in_one_graph(guard: DetectedModel, x: Any, path: Path) -> None:
    """What is exported judges as the guard does, by the runtime that production uses."""
    guard.export(path, data=x)
    np.testing.assert_allclose(Gate(path)(x).score, guard(x).score, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_command_line_takes_an_onnx_file(tmp_path: Path) -> None:
    """``--model classifier.onnx`` from calibration with gradient attacks to verdicts; the artifact knows its file."""
    recipe, guard = tmp_path / "quick.toml", tmp_path / "guard.safetensors"
    recipe.write_text(
        "head = 'logistic'\n[splits]\nfit = 0.5\nselect = 0.2\ncalibrate = 0.3\ntest = 0.0\n"
        "[[intervention]]\nkind = 'Flip'\n"
        "[[attack]]\nkind = 'pgd'\neps = '6/255'\neps_step = '2/255'\nmax_iter = 5\n"
    )
    limits = ["--limit", "300", "--fpr", "0.1", "--budget", "inf", "--jobs", "1"]
    told = ["calibrate", "--model", str(demo_file()), "--data", "demo", "--recipe", str(recipe), "--output", str(guard)]
    assert run([*told, *limits]) == 0
    loaded = DetectedModel.load(guard, demo_file())
    x = load_data("demo", limit=20).x
    torch.testing.assert_close(
        torch.from_numpy(loaded(x).logits), fashion_cnn()(torch.from_numpy(x)), rtol=1e-3, atol=1e-3
    )
    assert loaded.manifest["recipe"]["learned_from"] == ["pgd 6/255"]
    _same_in_one_graph(loaded, x, tmp_path / "fused.onnx")
    proto, other = onnx.load(demo_file()), tmp_path / "other.onnx"
    weight = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 1, weight.name))
    onnx.save(proto, other)
    with pytest.raises(ModelMismatchError):
        DetectedModel.load(guard, other)
