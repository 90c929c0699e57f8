"""A graph held against PyTorch."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from support import calibrated
from support.gates import gate

from ce_detect.attacks import Attack
from ce_detect.core.errors import ArtifactError
from ce_detect.data import Images
from ce_detect.export import parity
from ce_detect.export.fused_graph import fused


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


def test_clean_and_attacked_images_are_judged_by_both() -> None:
    """Without attacks of one's own, those of the recipe; each set has its own figures."""
    guard, x = calibrated.guard(), calibrated.fresh()[0][:6]
    opened = parity.session(fused(guard.gate, guard.manifest).SerializeToString())
    cache = {"cache": calibrated.cache(), "jobs": 1}
    found = parity.verify(guard.gate, guard.manifest, opened, Images(x), **cache)
    assert set(found) == {"clean", Attack.of(**calibrated.PGD).name}
    other = parity.verify(guard.gate, guard.manifest, opened, Images(x), attacks=(Attack.of("fgsm"),), **cache)
    assert set(other) == {"clean", "fgsm 8/255"}
    assert all(one.agree and one.inputs == 6 for one in (*found.values(), *other.values()))


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_a_sample_lies_within_the_bounds_and_is_the_same_each_time(name: str) -> None:
    """The classifier's probe comes first."""
    made = gate(name, "logistic")
    classifier = made.signature.classifier
    x = parity.sample(made, 5)
    assert x.shape == (5, *classifier.input_shape)
    assert (x == parity.sample(made, 5)).all()
    assert classifier.bounds[0] <= x.min() < x.max() <= classifier.bounds[1]
    torch.testing.assert_close(torch.from_numpy(x[:1]), classifier.probe())
