"""ONNX files that are read, and those that are refused with a remedy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from support.models import tiny_images
from support.onnx_files import tiny_file
from support.onnx_nodes import graph

from ce_detect import load_model
from ce_detect.classifiers import onnx as onnx_models
from ce_detect.core.errors import ModelError


@pytest.mark.parametrize("end", ["Softmax", "Sigmoid"])
def test_probabilities_at_the_end_are_cut_off(end: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The graph then returns the logits, and says so."""
    proto = onnx.load(tiny_file("plain"))
    proto.graph.node.append(helper.make_node(end, ["logits"], ["probabilities"]))
    proto.graph.output[0].name = "probabilities"
    onnx.save(proto, tmp_path / "p.onnx")
    x = tiny_images("plain", 2)
    with caplog.at_level(logging.INFO, "ce_detect"):
        got = onnx_models.load(tmp_path / "p.onnx")(x)
    torch.testing.assert_close(got, onnx_models.load(tiny_file("plain"))(x))
    assert f"the {end.lower()} at its end is cut off" in caplog.text


def _relu(path: Path, shape: tuple[int | str | None, ...] = ("n", 3, 8, 8), **settings: int) -> None:
    onnx.save(graph([helper.make_node("Relu", ["x"], ["logits"])], [], shape, **settings), path)


def _two_inputs(path: Path) -> None:
    model = graph([helper.make_node("Add", ["x", "y"], ["logits"])], [], ("n", 3, 8, 8))
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 3, 8, 8)))
    onnx.save(model, path)


def _two_outputs(path: Path) -> None:
    model = graph([helper.make_node("Split", ["x"], ["logits", "more"], num_outputs=2)], [], ("n", 3, 8, 8))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    onnx.save(model, path)


def _weights_elsewhere(path: Path) -> None:
    proto = onnx.load(tiny_file("plain"))
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


def _unknown_operator(path: Path) -> None:
    model = graph([helper.make_node("Nonsense", ["x"], ["logits"])], [], ("n", 3, 8, 8))
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"not a graph at all"), "is not an ONNX file"),
        (lambda path: path.write_bytes(b""), "is not an ONNX file"),
        (lambda path: None, "there is no ONNX file"),
        (_two_inputs, r"2 inputs \(x, y\), expected one.*extract_model"),
        (_two_outputs, r"2 outputs \(logits, more\), expected one"),
        (lambda path: _relu(path, kind=TensorProto.UINT8), "takes uint8, expected pixels of a floating type"),
        (lambda path: _relu(path, ("n", 3, 8)), "input of 3 dimensions"),
        (lambda path: _relu(path, (4, 3, 8, 8)), "batches of 4 images only.*dynamic_shapes"),
        (lambda path: _relu(path, opset=6), "operator set 6, the oldest that is read is 7.*version_converter"),
        (_weights_elsewhere, "weights in another file, which cannot be read.*external_data=False"),
        (_unknown_operator, "ONNX Runtime cannot run"),
    ],
)
def test_what_is_not_a_classifier_is_refused(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    """The message names what is wrong with the file and the remedy."""
    write(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path / "net.onnx"))
