"""The gate as one ONNX graph, held against PyTorch."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from support import calibrated
from support.gates import MANIFEST, OUTPUTS, gate
from support.models import TINY, tiny_classifier, tiny_images, tiny_model

from ce_detect.calibrate import samples
from ce_detect.classifiers.base import site_shapes
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ArtifactError, ExportError, MissingExtraError, ModelError
from ce_detect.detector.gate import GateModule
from ce_detect.export import optimize, parity, writer
from ce_detect.export.fused_graph import check, fused
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.interventions import (
    AblateConcept,
    Flip,
    GradientStep,
    LearnedMask,
    UniversalPerturbation,
)


@functools.cache
def graph(
    name: str = "plain", kind: str = "mlp", *, uint8: bool = False, one_pass: bool = False
) -> tuple[GateModule, bytes]:
    """A gate and its graph."""
    made = gate(name, kind)
    return made, fused(made, MANIFEST, uint8=uint8, one_pass=one_pass).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("name", "kind", "one_pass"),
    [
        ("plain", "mlp", False), ("transformer", "logistic", False),
        ("transformer", "logistic", True), ("one-logit", "distance", False),
    ],
)  # fmt: skip
def test_graph_judges_as_the_gate_does(name: str, kind: str, one_pass: bool) -> None:
    """Every output agrees, in batches of one, two and eight, for CNNs, a transformer and every kind of head."""
    made, content = graph(name, kind, one_pass=one_pass)
    opened = parity.session(content)
    for batch in (1, 2, 8):
        x = tiny_images(name, batch, seed=batch)
        with torch.inference_mode():
            expected = made(x)
        got = opened.run(None, {"input": x.numpy()})
        assert [output.name for output in opened.get_outputs()] == OUTPUTS
        for ours, theirs in zip(expected, got, strict=True):
            assert theirs.shape == ours.shape
            assert theirs.dtype == ours.numpy().dtype
            np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
    found = parity.differences(made, opened, tiny_images(name, 40, seed=3).numpy())
    assert found.agree
    assert np.isnan(got[4]).all() == (kind == "distance")


def test_what_is_learned_exports() -> None:
    """A universal perturbation, learned masks and a concept autoencoder judge in the graph as they do in PyTorch."""
    classifier, tiny = tiny_classifier("plain"), TINY["plain"]
    site = classifier.sites[0]
    shape = site_shapes(classifier)[site]
    low, high = tiny.bounds
    learned = [
        UniversalPerturbation(shape="x".join(map(str, tiny.shape)), eps=0.1 * (high - low), low=low, high=high),
        LearnedMask(site=site, shape="x".join(map(str, shape))),
        AblateConcept(site=site, channels=shape[0], concepts=2),
    ]
    generator = torch.Generator().manual_seed(0)
    x = tiny_images("plain", 8)
    with torch.no_grad():
        for intervention in learned:
            intervention.start(classifier.trace(x).latents.get(intervention.site, x), generator)
            for parameter in intervention.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
            intervention.requires_grad_(False)
    made = gate("plain", "logistic", interventions=learned)
    opened = parity.session(fused(made, MANIFEST).SerializeToString())
    assert parity.differences(made, opened, tiny_images("plain", 40, seed=3).numpy()).agree


def test_multi_label_gates_export() -> None:
    """A model with several labels keeps the label that its gate decides on."""
    made = gate("plain", "logistic", multi_label=True)
    opened = parity.session(fused(made, MANIFEST).SerializeToString())
    assert parity.differences(made, opened, tiny_images("plain", 16).numpy()).agree


def test_threshold_can_be_given_or_left_out() -> None:
    """The calibrated threshold is the default; another moves verdicts alone."""
    made, content = graph()
    opened = parity.session(content)
    x = tiny_images("plain", 8).numpy()
    plain = opened.run(None, {"input": x})
    assert plain[5].tolist() == (plain[2] > float(made.threshold)).tolist()
    assert 0 < plain[5].sum() < 8
    least = opened.run(None, {"input": x, "threshold": np.array(plain[2].min() - 1, np.float32)})
    assert least[5].all()
    np.testing.assert_array_equal(least[2], plain[2])
    model = onnx.load_from_string(content)
    (default,) = [tensor for tensor in model.graph.initializer if tensor.name == "threshold"]
    assert onnx.numpy_helper.to_array(default) == made.threshold.numpy()


def test_metadata_hold_the_manifest_and_nothing_of_this_machine() -> None:
    """The manifest is JSON with sorted keys; no path of a source file rides along; the graph is valid."""
    _, content = graph()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata["ce_detect.manifest"] == json.dumps(MANIFEST, sort_keys=True)
    assert metadata["ce_detect.format"] == "1"
    assert "ce_detect.version" in metadata
    for word in (b"site-packages", b"stack_trace", str(Path(__file__).parent).encode(), b".py"):
        assert word not in content
    (batch,) = {d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim} - {""}
    assert batch == "batch"


def test_the_same_gate_gives_the_same_bytes() -> None:
    """Exporting twice makes one file."""
    made, content = graph()
    assert fused(made, MANIFEST).SerializeToString(deterministic=True) == content


def test_every_tensor_is_stored_once() -> None:
    """However often a segment runs, its weights are there once, and nothing that no node reads."""
    for name in ("plain", "transformer"):
        model = onnx.load_from_string(graph(name, "mlp" if name == "plain" else "logistic")[1])
        contents = [
            (t.data_type, tuple(t.dims), onnx.numpy_helper.to_array(t).tobytes()) for t in model.graph.initializer
        ]
        inner = [one for one in contents if len(one[2]) > 4]
        assert len(set(inner)) == len(inner)
        read = {name for node in model.graph.node for name in node.input}
        assert {t.name for t in model.graph.initializer} <= read


def test_small_floors_survive() -> None:
    """What is added below a root is in the graph: onnxscript's own rewriting takes 1e-8 for zero."""
    model = onnx.load_from_string(graph()[1])
    values = [float(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer if not t.dims]
    assert any(value == pytest.approx(1e-8) for value in values)


def test_grey_levels_are_scaled_inside() -> None:
    """A graph for uint8 images, channels last, says of grey levels what the gate says of the pixels they stand for."""
    made = gate("residual", "logistic", interventions=[Flip()])
    opened = parity.session(fused(made, MANIFEST, uint8=True).SerializeToString())
    (given, *_) = opened.get_inputs()
    assert (given.type, given.shape[1:]) == ("tensor(uint8)", [16, 16, 3])
    levels = torch.randint(0, 256, (4, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        expected = made(levels.permute(0, 3, 1, 2).float())  # its bounds are 0 and 255
    np.testing.assert_allclose(opened.run(["score"], {"input": levels.numpy()})[0], expected.score, atol=1e-4)
    assert torch.equal(parity.scaled(levels, (-1.0, 1.0)), levels.float() / 127.5 - 1)


def test_what_has_no_graph_is_refused() -> None:
    """Hooked models, gradients at run time and half precision: the error says what, and the remedy."""
    with pytest.raises(ModelError, match="could not be captured as a graph"):
        check(gate("branching", "logistic", interventions=[Flip()]))
    with pytest.raises(ModelError, match=r"GradientStep.*takes a gradient at run time"):
        check(gate("plain", "logistic", interventions=[GradientStep()]))
    half = wrap(tiny_model("plain").to(torch.bfloat16), input_shape=(3, 16, 16), bounds=(0.0, 1.0))
    with pytest.raises(ModelError, match=r"bfloat16.*model.float\(\)"):
        check(SimpleNamespace(signature=SimpleNamespace(classifier=half, interventions=[])))  # type: ignore[arg-type]


@pytest.mark.parametrize("package", writer.NEEDED)
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


def test_a_flip_or_a_score_that_is_off_is_no_agreement() -> None:
    """Differences beyond rounding, a verdict that flips and a score that is not a number all count."""
    fine = {
        "inputs": 1, "logits": 0.0, "score": 1e-4, "p_value": 0.5, "probability": 0.0, "label_flips": 0,
        "verdict_flips": 0, "margin": 1.0,
    }  # fmt: skip
    assert parity.Differences(**fine).agree
    for worse in ({"score": 1.1e-4}, {"verdict_flips": 1}, {"score": float("inf")}):
        assert not parity.Differences(**{**fine, **worse}).agree


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """A file that is absent, no graph, or a graph of something else."""
    with pytest.raises(ArtifactError, match="cannot be read"):
        parity.session(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ArtifactError, match="cannot open"):
        parity.session(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info
    node, one = onnx.helper.make_node("Relu", ["x"], ["y"]), [value(name, 1, [2]) for name in "xy"]
    other = onnx.helper.make_graph([node], "other", one[:1], one[1:])
    onnx.save(
        onnx.helper.make_model(other, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)]),
        tmp_path / "other.onnx",
    )
    with pytest.raises(ArtifactError, match=r"no 'ce_detect\.manifest'"):
        parity.manifest_of(parity.session(tmp_path / "other.onnx"))


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
