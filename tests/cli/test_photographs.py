"""Photographs of many sizes, from calibration to a scan, with nothing done to them beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from support.command_line import call
from support.pictures import picture

from ce_detect import Resizing, load_data
from ce_detect.artifacts.file import Artifact
from ce_detect.runtime import Gate

RECIPE = """
head = "logistic"
splits = { fit = 0.5, select = 0.2, calibrate = 0.3, test = 0.0 }
attack = [{ kind = "fgsm", eps = "16/255" }]
intervention = [{ kind = "Flip" }]
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fashion-MNIST, enlarged by other factors upright and across, without labels."""
    folder = tmp_path_factory.mktemp("photographs")
    for i, x in enumerate(load_data("demo", limit=200).x):
        large = np.kron(np.rint(255 * x[0]).astype(np.uint8), np.ones((1 + i % 3, 1 + i % 2), np.uint8))
        picture(folder / f"{i:03d}.png", large)
    return folder


@pytest.mark.slow
def test_photographs_are_calibrated_on_evaluated_exported_and_scanned(photographs: Path, tmp_path: Path) -> None:
    """The sizes are named once; artifact and graph know them from then on."""
    guard, graph, recipe = tmp_path / "guard.safetensors", tmp_path / "guard.onnx", tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    common = ["--model", "demo", "--data", photographs, "--cache", tmp_path, "--jobs", "1"]
    refused = call("calibrate", *common)
    assert (refused.code, "say how they come to one size: --resize and --crop" in refused.err) == (2, True)
    settings = ["--recipe", recipe, "--fpr", "0.2", "--budget", "inf", "--output", guard]
    done = call("calibrate", *common, *settings, "--resize", "32x30", "--crop", "28", "--interpolation", "bicubic")
    assert done.code == 0, done.err
    assert Artifact.load(guard).manifest.model.resizing == Resizing((32, 30), 28, "bicubic")
    assert call("evaluate", guard, *common, "--seed", "0").code == 0
    exported = call("export", guard, "--model", "demo", "--data", photographs, "--limit", "32", "--output", graph)
    assert exported.code == 0, exported.err
    large = tmp_path / "any.onnx"
    assert call("export", guard, "--model", "demo", "--any-size", "--output", large).code == 0
    files = sorted(photographs.glob("*.png"))[:1]
    gate, of_any_size = Gate(graph), Gate(large)
    pixels = np.asarray(Image.open(files[0]))[None, :, :, None]
    np.testing.assert_allclose(of_any_size(pixels).score, gate(gate.read(files)).score, atol=0.05)
    scanned = call("scan", graph, photographs, "--out", tmp_path / "verdicts.parquet", "--json")
    assert (scanned.code, scanned.data["errors"]) == (0, 0)
    assert scanned.data["flag_rate"] < 0.3
    table = parquet.read_table(tmp_path / "verdicts.parquet").to_pydict()
    files = [photographs / name for name in table["name"]]
    np.testing.assert_allclose(table["score"], gate(gate.read(files)).score, rtol=1e-5)
