"""A model repository as Triton reads it."""

from __future__ import annotations

import importlib.util
from importlib.metadata import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import text_format
from support import calibrated

from ce_detect.core.errors import UsageError
from ce_detect.export import parity, triton

MANIFEST = {"model": {"input_shape": [3, 32, 48], "num_classes": 7}}


def definition() -> ModuleType:
    """Triton's own definition of a configuration, taken from its client by file: the package around it needs gRPC."""
    path = next(file for file in files("tritonclient") or [] if file.name == "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", str(path.locate()))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pb2() -> ModuleType:
    """Once, for a message type can be registered only once."""
    return definition()


@pytest.mark.parametrize(
    ("uint8", "kind", "dims"), [(False, "TYPE_FP32", [3, 32, 48]), (True, "TYPE_UINT8", [32, 48, 3])]
)
def test_triton_can_read_the_configuration(pb2: Any, uint8: bool, kind: str, dims: list[int]) -> None:
    """Parsed with Triton's definition, inputs and outputs are those of the graph, without the batch."""
    parsed = text_format.Parse(triton.config("guard", MANIFEST, uint8=uint8), pb2.ModelConfig())
    assert (parsed.name, parsed.backend, parsed.max_batch_size) == ("guard", "onnxruntime", triton.MOST_INPUTS)
    (given,) = parsed.input
    assert (given.name, pb2.DataType.Name(given.data_type), list(given.dims)) == ("input", kind, dims)
    types = {output.name: (pb2.DataType.Name(output.data_type), list(output.dims)) for output in parsed.output}
    assert types == {
        "logits": ("TYPE_FP32", [7]), "label": ("TYPE_INT64", [1]), "score": ("TYPE_FP32", [1]),
        "p_value": ("TYPE_FP32", [1]), "probability": ("TYPE_FP32", [1]), "is_adversarial": ("TYPE_BOOL", [1]),
    }  # fmt: skip
    scalars = [output for output in parsed.output if output.name != "logits"]
    assert all(output.HasField("reshape") and not output.reshape.shape for output in scalars)
    assert parsed.HasField("dynamic_batching")


def test_repository_holds_graph_and_configuration(tmp_path: Path) -> None:
    """The layout is Triton's, and the names and types in the configuration are those of the graph."""
    guard = calibrated.guard()
    path, found = triton.write(
        guard.gate, guard.manifest, tmp_path / "models", name="digits", x=calibrated.fresh()[0][:8]
    )
    assert path == tmp_path / "models" / "digits" / "1" / "model.onnx"
    assert found.agree
    assert found.inputs == 8
    text = (tmp_path / "models" / "digits" / "config.pbtxt").read_text()
    assert text.startswith('name: "digits"')
    opened = parity.session(path)
    for tensor in (*opened.get_inputs(), *opened.get_outputs()):
        assert f'name: "{tensor.name}"' in text


@pytest.mark.parametrize("name", ["", "../other", "a/b", ".hidden"])
def test_a_name_is_one_folder(tmp_path: Path, name: str) -> None:
    """A name cannot lead out of the repository."""
    guard = calibrated.guard()
    with pytest.raises(UsageError, match="cannot name a Triton model"):
        triton.write(guard.gate, guard.manifest, tmp_path, name=name)
    assert not list(tmp_path.iterdir())
