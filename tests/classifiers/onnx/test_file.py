"""Classifiers from ONNX files: converted where possible, black boxes where not, refused with a remedy."""

from __future__ import annotations

import functools
import logging
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.calibrated import QUICK
from support.models import TINY, tiny_classifier, tiny_images, tiny_model
from support.onnx_files import EXPORTED, exported, quantized, tiny_file
from support.onnx_nodes import graph, seeded
from torch import nn

from ce_detect import DetectedModel, Recipe, load_data, load_model
from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.interface import fingerprint
from ce_detect.classifiers.onnx import OnnxModule, RuntimeModule
from ce_detect.classifiers.onnx.black_box import OnnxClassifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.cli import run
from ce_detect.core.errors import CalibrationError, ModelError, ModelMismatchError, UsageError
from ce_detect.demo.model import fashion_cnn
from ce_detect.runtime import Gate


def wrapped(model: nn.Module, name: str) -> Classifier:
    """A model that takes what a tiny model takes, as a classifier."""
    return wrap(model, input_shape=TINY[name].shape, bounds=TINY[name].bounds)


@pytest.fixture(scope="module")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged demo classifier as a file."""
    path = tmp_path_factory.mktemp("onnx") / "classifier.onnx"
    onnx.save(exported(fashion_cnn(), torch.rand(2, 1, 28, 28)), path)
    return path


@pytest.fixture(scope="module")
def black_box_file(demo_file: Path) -> Path:
    """The demo classifier behind operations that cannot be converted."""
    path = demo_file.with_name("quantized.onnx")
    onnx.save(quantized(demo_file), path)
    return path


@functools.cache
def converted(name: str, *, dynamo: bool) -> Classifier:
    """The file of a tiny model as a classifier, wrapped once a session."""
    loaded = onnx_models.load(tiny_file(name, dynamo=dynamo))
    assert isinstance(loaded, OnnxModule)
    return wrapped(loaded, name)


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


@pytest.mark.parametrize("name", ["plain", "transformer"])
def test_a_black_box_has_sites_and_no_gradients(name: str) -> None:
    """ONNX Runtime runs what is behind a site; one_pass gives what resuming gives."""
    file = onnx_models.read(tiny_file(name))
    classifier = wrapped(RuntimeModule(file), name)
    assert isinstance(classifier, OnnxClassifier)
    assert isinstance(classifier, Classifier)
    assert len(classifier.sites) >= 3
    x = tiny_images(name, 3)
    trace = classifier.trace(x)
    torch.testing.assert_close(trace.logits, tiny_classifier(name).logits(x), rtol=1e-3, atol=1e-3)
    first, last = classifier.sites[0], classifier.sites[-1]
    do = {site: lambda h: torch.cat([h, 0.5 * h]) for site in ("input", first, last)}
    ridden, logits = classifier.trace_and_resume(x, classifier.sites[:1], do)
    torch.testing.assert_close(ridden.latents[first], trace.latents[first])
    for site, z in logits.items():
        torch.testing.assert_close(z[:3], trace.logits)
        torch.testing.assert_close(z, classifier.resume(site, do[site](trace.latents.get(site, x)), x))
    assert not classifier.differentiable
    assert not classifier.logits(x.requires_grad_(True)).requires_grad


def test_a_black_box_travels_to_another_process(black_box_file: Path) -> None:
    """Pickled and read again it gives the same logits and has the same fingerprint."""
    model = onnx_models.load(black_box_file)
    assert isinstance(model, RuntimeModule)
    classifier = wrap(model, input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    again = pickle.loads(pickle.dumps(classifier))
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.logits(x), classifier.logits(x), rtol=0, atol=0)
    assert again.fingerprint() == classifier.fingerprint()


def test_what_cannot_be_converted_is_said_once(black_box_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the file and the operator."""
    with caplog.at_level(logging.WARNING, "ce_detect"):
        onnx_models.load(black_box_file)
    assert "quantized.onnx cannot be converted" in caplog.text
    assert "QuantizeLinear" in caplog.text


def test_a_converted_graph_that_disagrees_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A table entry that is wrong for a graph costs the gradients, not the correctness."""
    from ce_detect.classifiers.onnx.convert import module

    monkeypatch.setitem(module.OPERATIONS, "Relu", lambda _, x: x)
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


def test_names_that_are_no_onnx_files(demo_file: Path) -> None:
    """A factory is not called because a string names it; weights are in the file already."""
    with pytest.raises(ModelError, match=r"not the name of an \.onnx file"):
        DetectedModel("package.module:factory")
    with pytest.raises(UsageError, match="holds its weights"):
        load_model(str(demo_file), "weights.safetensors")


def test_a_black_box_is_calibrated_by_queries_alone(black_box_file: Path, tmp_path: Path) -> None:
    """Gradient attacks are refused with the recipe that does without them; Square teaches a detector."""
    images = load_data("demo", limit=300)
    settings = {"fpr": 0.1, "budget": math.inf, "jobs": 1}
    guard = DetectedModel(black_box_file)
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
    loaded = DetectedModel.load(tmp_path / "guard.safetensors", black_box_file)
    np.testing.assert_array_equal(loaded(images.x[:20]).score, guard(images.x[:20]).score)
    assert {"relu", "penultimate"} <= set(loaded.manifest["model"]["sites"])
    _same_in_one_graph(loaded, images.x[:40], tmp_path / "fused.onnx")


def _same_in_one_graph(guard: DetectedModel, x: Any, path: Path) -> None:
    """What is exported judges as the guard does, by the runtime that production uses."""
    guard.export(path, data=x)
    np.testing.assert_allclose(Gate(path)(x).score, guard(x).score, rtol=1e-4, atol=1e-4)


def test_the_command_line_takes_an_onnx_file(demo_file: Path, tmp_path: Path) -> None:
    """``--model classifier.onnx`` from calibration with gradient attacks to verdicts; the artifact knows its file."""
    recipe, guard = tmp_path / "quick.toml", tmp_path / "guard.safetensors"
    recipe.write_text(
        "head = 'logistic'\n[splits]\nfit = 0.5\nselect = 0.2\ncalibrate = 0.3\ntest = 0.0\n"
        "[[intervention]]\nkind = 'Flip'\n"
        "[[attack]]\nkind = 'pgd'\neps = '6/255'\neps_step = '2/255'\nmax_iter = 5\n"
    )
    limits = ["--limit", "300", "--fpr", "0.1", "--budget", "inf", "--jobs", "1"]
    told = ["calibrate", "--model", str(demo_file), "--data", "demo", "--recipe", str(recipe), "--output", str(guard)]
    assert run([*told, *limits]) == 0
    loaded = DetectedModel.load(guard, demo_file)
    x = load_data("demo", limit=20).x
    torch.testing.assert_close(
        torch.from_numpy(loaded(x).logits), fashion_cnn()(torch.from_numpy(x)), rtol=1e-3, atol=1e-3
    )
    assert loaded.manifest["recipe"]["learned_from"] == ["pgd 6/255"]
    _same_in_one_graph(loaded, x, tmp_path / "fused.onnx")
    proto, other = onnx.load(demo_file), tmp_path / "other.onnx"
    weight = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 1, weight.name))
    onnx.save(proto, other)
    with pytest.raises(ModelMismatchError):
        DetectedModel.load(guard, other)


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_it(absent: str, demo_file: Path) -> None:
    """Reading a file takes both packages; importing ce-detect takes neither."""
    source = (
        f"import sys; sys.modules[{absent!r}] = None\n"
        "import ce_detect\n"
        f"try: ce_detect.DetectedModel({str(demo_file)!r})\n"
        "except ce_detect.MissingExtraError as error: print(error.package, error.extra)\n"
    )
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [absent, "onnx"]
