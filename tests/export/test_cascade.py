"""The graph of a gate with a cascade."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from support.calibrated import fresh
from support.cascades import cascade, guard
from support.gates import MANIFEST, OUTPUTS, black_box
from support.models import TINY, tiny_images

from ce_detect import runtime
from ce_detect.core.errors import ExportError
from ce_detect.detector.cascade import First, cascaded
from ce_detect.export import parity
from ce_detect.export.fused_graph import fused
from ce_detect.features.signature import Signature
from ce_detect.interventions import GaussianNoise, Scale

Tensor = torch.Tensor


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "uint8"),
    [("plain", "mlp", False), ("transformer", "logistic", False), ("residual", "mlp", True)],
)
def test_graph_judges_as_the_gate_does(name: str, kind: str, uint8: bool) -> None:
    """For CNNs, a transformer, every kind of head and grey levels, also where no row or every row is left."""
    made, x = cascade(name, kind), tiny_images(name, 40, seed=3)
    model = fused(made, MANIFEST, uint8=uint8)
    onnx.checker.check_model(model)
    opened = parity.session(model.SerializeToString())
    assert [output.name for output in opened.get_outputs()] == OUTPUTS
    assert opened.get_inputs()[0].name == "input"
    with torch.inference_mode():
        left = First(made)(x)[2] > cascaded(made).level
    for rows in (x[left], x[~left], x, x[left][:1], x[~left][:1]):
        assert parity.differences(made, opened, rows.numpy()).agree
    if not uint8:
        for threshold, flagged in ((-1e9, True), (1e9, False)):
            feed = {"input": x.numpy(), "threshold": np.array(threshold, np.float32)}
            assert (opened.run(["is_adversarial"], feed)[0] == flagged).all()


@pytest.mark.slow
def test_black_box_is_in_both_parts_of_the_graph(tmp_path: Path) -> None:
    """An ONNX model that cannot be converted is cut where the interventions resume it."""
    classifier = black_box("transformer", tmp_path)
    sites = classifier.sites
    latent = [Scale(site=sites[0]), GaussianNoise(channels=TINY["transformer"].shape[0])]
    made = cascade("transformer", "logistic", Signature(classifier, latent, sites=sites[:1], chunk=16))
    opened = parity.session(fused(made, MANIFEST).SerializeToString())
    assert parity.differences(made, opened, tiny_images("transformer", 40, seed=3).numpy()).agree


@pytest.mark.slow
def test_runtime_gives_the_same_results(tmp_path: Path) -> None:
    """The gate that needs no torch opens the graph of a cascade as any other, for single inputs and batches."""
    guard().export(tmp_path / "guard.onnx")
    served = runtime.Gate(tmp_path / "guard.onnx")
    clean, _ = fresh()
    for rows in (clean[:1], clean[1:2], clean[2:3], clean):
        np.testing.assert_allclose(served(rows).score, guard()(rows).score, atol=1e-4)


@pytest.mark.slow
def test_weights_are_in_the_graph_once_and_no_branch_is() -> None:
    """Both parts read the same ones; ONNX Runtime lays out no convolution in a branch. Twice gives the same bytes."""
    made = cascade("residual", "logistic")
    model, again = (fused(made, MANIFEST) for _ in range(2))
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    contents = [(tuple(t.dims), t.raw_data) for t in model.graph.initializer if len(t.raw_data) > 64]
    assert len(set(contents)) == len(contents)
    assert not [node for node in model.graph.node if node.op_type in ("If", "Loop")]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Compress") == 3 + len(made.signature.changed)


@pytest.mark.slow
def test_a_calibrated_cascade_exports(tmp_path: Path) -> None:
    """Export checks it on the images of the calibration, clean and attacked."""
    found = guard().export(tmp_path / "guard.onnx")
    assert found.agree
    clean, attacked = fresh()
    opened = parity.session(tmp_path / "guard.onnx")
    for x in (clean, attacked):
        assert parity.differences(guard().gate, opened, x).agree


@pytest.mark.slow
def test_inputs_at_the_level_may_take_either_way() -> None:
    """Rounding decides there; the check says how many there were and compares the verdicts of these alone."""
    made, x = cascade("plain", "mlp"), tiny_images("plain", 40, seed=3)
    with torch.inference_mode():
        first, second = First(made)(x)[2], cascaded(made).second(made.signature(x)[1])
    at = int((first - second).abs().argmax())
    made.threshold.fill_(1e6)
    for level, agree in ((first[at], True), (first[at] - 2e-3, False)):
        cascaded(made).level.copy_(level)
        model = fused(made, MANIFEST)
        (kept,) = (t for t in model.graph.initializer if t.name == "cascade/level")
        kept.CopyFrom(onnx.numpy_helper.from_array(np.float32(first[at]) - np.float32(1e-5), "cascade/level"))
        found = parity.differences(made, parity.session(model.SerializeToString()), x[[at]].numpy())
        assert found.either == int(agree)
        assert found.agree
    cascaded(made).level.copy_(first[at] + 2e-3)
    assert not parity.differences(made, parity.session(model.SerializeToString()), x[[at]].numpy()).agree


@pytest.mark.slow
def test_a_graph_that_fails_when_all_is_cleared_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export tries that, whatever the images it was given."""

    def failing(opened: Any, x: Tensor) -> None:
        raise ExportError("cannot run it")

    monkeypatch.setattr(parity, "differences", lambda *_: SimpleNamespace(agree=True))
    monkeypatch.setattr(parity, "ran", failing)
    with pytest.raises(ExportError, match="cannot run it"):
        guard().export(tmp_path / "guard.onnx")
    assert not list(tmp_path.iterdir())
