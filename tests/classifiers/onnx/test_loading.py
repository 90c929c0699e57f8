"""Classifiers from ONNX files: converted where possible, black boxes where not."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.models import tiny_classifier, tiny_images, tiny_model
from support.onnx_files import EXPORTED, black_box_file, demo_file, exported, tiny_file, wrapped
from support.onnx_nodes import graph, seeded
from torch import nn

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.interface import fingerprint
from ce_detect.classifiers.onnx import OnnxModule, RuntimeModule
from ce_detect.classifiers.onnx.convert.operations import OPERATIONS
from ce_detect.classifiers.segmented import TorchClassifier


@functools.cache
def converted(name: str, *, dynamo: bool) -> Classifier:
    """The file of a tiny model as a classifier, wrapped once a session."""
    loaded = onnx_models.load(tiny_file(name, dynamo=dynamo))
    assert isinstance(loaded, OnnxModule)
    return wrapped(loaded, name)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", EXPORTED)
def test_a_converted_model_is_the_model(name: str, dynamo: bool) -> None:
    """Logits, gradients and the number of classes are those of the model that was exported."""
    got, expected = converted(name, dynamo=dynamo), tiny_classifier(name)
    assert isinstance(got, TorchClassifier)
    x = tiny_images(name, 5).requires_grad_(True)
    logits = [classifier.logits(x) for classifier in (got, expected)]
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)
    gradients = [torch.autograd.grad(z[:, 0].sum(), x)[0] for z in logits]
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", ["plain", "transformer"])
def test_sites_of_a_converted_model(name: str, dynamo: bool) -> None:
    """Resuming from a site goes on from the latent there, for any batch; shapes are among those of the model."""
    classifier = converted(name, dynamo=dynamo)
    x = tiny_images(name, 5)
    with torch.no_grad():
        trace = classifier.trace(x)
        for site, latent in trace.latents.items():
            torch.testing.assert_close(classifier.resume(site, latent, x), trace.logits)
            assert not torch.allclose(classifier.resume(site, latent * 0.5, x), trace.logits)
        shapes = {tuple(h.shape) for h in tiny_classifier(name).trace(x).latents.values()}
    assert shapes <= {tuple(h.shape) for h in trace.latents.values()}
    assert "penultimate" in classifier.sites
    assert classifier.head_weight is not None


def test_the_fingerprint_is_that_of_the_weights() -> None:
    """Two readings of a file have one fingerprint, and another weight gives another."""
    first, changed = converted("plain", dynamo=True), onnx_models.load(tiny_file("plain"))
    assert fingerprint(changed) == first.fingerprint()
    with torch.no_grad():
        next(iter(changed.parameters())).add_(1)
    assert fingerprint(changed) != first.fingerprint()


def test_what_cannot_be_converted_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the file and the operator."""
    with caplog.at_level(logging.WARNING, "ce_detect"):
        onnx_models.load(black_box_file())
    assert "quantized.onnx cannot be converted" in caplog.text
    assert "QuantizeLinear" in caplog.text


def test_a_converted_graph_that_disagrees_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A table entry that is wrong for a graph costs the gradients, not the correctness."""
    monkeypatch.setitem(OPERATIONS, "Relu", lambda _, x: x)
    loaded = onnx_models.load(tiny_file("plain"))
    assert isinstance(loaded, RuntimeModule)
    assert "computes something else" in caplog.text
    x = tiny_images("plain", 2)
    torch.testing.assert_close(loaded(x), tiny_model("plain")(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", ["plain", "in-place", "transformer"])
def test_a_graph_for_one_image_takes_batches(name: str, dynamo: bool, tmp_path: Path) -> None:
    """The batch size is made free where that changes nothing, else the black box runs image by image."""
    model = tiny_model(name)
    onnx.save(exported(model, tiny_images(name, 1), dynamo=dynamo, free=False), tmp_path / "one.onnx")
    x = tiny_images(name, 3)
    loaded = onnx_models.load(tmp_path / "one.onnx")
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), model(x), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            RuntimeModule(onnx_models.read(tmp_path / "one.onnx"))(x), model(x), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("convertible", [True, False])
def test_channels_last_inputs_are_taken_channels_first(convertible: bool, tmp_path: Path) -> None:
    """As TensorFlow exports them: the gate sees ``(batch, channels, height, width)`` all the same."""
    weight = numpy_helper.from_array(seeded(4, 3, 3, 3), "w")
    nodes = [
        helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "w"], ["h"]), helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("Flatten", ["p"], ["logits"]),
    ]  # fmt: skip
    onnx.save(graph(nodes, [weight], ("n", 12, 10, 3)), tmp_path / "last.onnx")
    x = torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "last.onnx"
    model = onnx_models.load(path) if convertible else RuntimeModule(onnx_models.read(path))
    assert isinstance(model, OnnxModule) == convertible
    expected = nn.functional.conv2d(x, torch.from_numpy(numpy_helper.to_array(weight).copy())).mean((2, 3))
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def _half(path: Path) -> None:
    weight = numpy_helper.from_array(seeded(4, 3, 3, 3).astype(np.float16), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("Flatten", ["p"], ["logits"]),
    ]  # fmt: skip
    model = graph(nodes, [weight], ("n", 3, 8, 8), kind=TensorProto.FLOAT16)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, path)


def test_half_precision(tmp_path: Path) -> None:
    """Pixels are taken in the type of the graph, and logits agree in that precision."""
    _half(tmp_path / "half.onnx")
    loaded = onnx_models.load(tmp_path / "half.onnx")
    assert isinstance(loaded, OnnxModule)
    assert next(loaded.parameters()).dtype is torch.float16


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_it(absent: str) -> None:
    """Reading a file takes both packages; importing ce-detect takes neither."""
    source = (
        f"import sys; sys.modules[{absent!r}] = None\n"
        "import ce_detect\n"
        f"try: ce_detect.DetectedModel({str(demo_file())!r})\n"
        "except ce_detect.MissingExtraError as error: print(error.package, error.extra)\n"
    )
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [absent, "onnx"]
