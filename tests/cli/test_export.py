"""``ce-detect export`` and ``ce-detect verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import calibrated

from ce_detect.artifacts import graph_digest
from ce_detect.cli import run
from ce_detect.core.errors import ExportError
from ce_detect.export import writer


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An artifact, its graph, and a file of images that calibration did not see."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {name: folder / name for name in ("guard.safetensors", "guard.onnx", "images.npz")}
    calibrated.guard().save(paths["guard.safetensors"])
    np.savez(paths["images.npz"], x=calibrated.fresh()[0][:40])
    code = run(["export", str(paths["guard.safetensors"]), "--model", "demo", "--data", str(paths["images.npz"])])
    assert code == 0
    return paths


def verified(paths: dict[str, Path], graph: Path, *more: str) -> int:
    """The exit code of ``verify``."""
    against = ["--against", str(paths["guard.safetensors"]), "--model", "demo", "--data", str(paths["images.npz"])]
    return run(["verify", str(graph), *against, "--attack", "fgsm", "--jobs", "1", *more])


@pytest.mark.slow
def test_a_graph_lies_beside_its_artifact_and_verifies(exported: dict[str, Path], capsys: Any) -> None:
    """Without --output the graph takes the artifact's name; it agrees on clean and on attacked images."""
    assert exported["guard.onnx"].is_file()
    capsys.readouterr()
    assert verified(exported, exported["guard.onnx"], "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["agree"]
    assert len(result["sets"]) == 2
    for found in result["sets"].values():
        assert found["inputs"] == 40
        assert found["verdict_flips"] == 0
        assert 0 < found["score"] <= 1e-4


def unsealed(path: Path) -> onnx.ModelProto:
    """A graph without its checksum, so that it can be changed and sealed anew."""
    model = onnx.load(path)
    del model.metadata_props[-1]
    return model


def test_a_graph_that_judges_otherwise_fails_the_check(exported: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    """A weight that somebody changed gives exit code 1, and the figures say by how much."""
    model = unsealed(exported["guard.onnx"])
    bias = next(t for t in model.graph.initializer if list(t.dims) == [10] and t.data_type == onnx.TensorProto.FLOAT)
    bias.CopyFrom(
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.arange(10, dtype=np.float32), bias.name)
    )
    (tmp_path / "bent.onnx").write_bytes(graph_digest.sealed(model.SerializeToString()))
    assert verified(exported, tmp_path / "bent.onnx") == 1
    assert "DISAGREES" in capsys.readouterr().out


def test_the_graph_of_another_detector_is_refused(exported: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    """Comparing two different detectors would say nothing of the export."""
    model = unsealed(exported["guard.onnx"])
    (manifest,) = [prop for prop in model.metadata_props if prop.key == "ce_detect.manifest"]
    manifest.value = "{}"
    (tmp_path / "other.onnx").write_bytes(graph_digest.sealed(model.SerializeToString()))
    assert verified(exported, tmp_path / "other.onnx") == 2
    assert "was not exported from" in capsys.readouterr().err


def test_export_exits_with_one_where_the_graph_disagrees(
    exported: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The check that export runs by itself has the exit code of a check."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ExportError("judges otherwise")

    monkeypatch.setattr(writer, "write", refuse)
    arguments = ["export", str(exported["guard.safetensors"]), "--model", "demo", "--output", str(tmp_path / "x.onnx")]
    assert run(arguments) == 1
    assert "judges otherwise" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
