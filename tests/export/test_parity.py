"""A graph held against PyTorch."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from support import fused
from support.gates import gate, graph
from support.models import tiny_images

from ce_detect.attacks import Attack
from ce_detect.core.errors import ArtifactError
from ce_detect.data import Images
from ce_detect.export import parity


def test_a_flip_or_a_score_that_is_off_is_no_agreement() -> None:
    """Differences beyond rounding, a verdict that flips and a score that is not a number all count."""
    fine = {
        "inputs": 1, "logits": 0.0, "score": 1e-4, "p_value": 0.5, "probability": 0.0, "label_flips": 0,
        "verdict_flips": 0, "margin": 1.0,
    }  # fmt: skip
    assert parity.Differences(**fine).agree
    for worse in ({"score": 1.1e-4}, {"verdict_flips": 1}, {"score": float("inf")}):
        assert not parity.Differences(**{**fine, **worse}).agree


def test_fewer_bits_may_flip_a_few_verdicts() -> None:
    """A share of them by precision; scores only have to be numbers."""
    found = {
        "inputs": 100, "logits": 0.1, "score": 1.0, "p_value": 0.5, "probability": 0.1, "label_flips": 3, "margin": 0.0,
    }  # fmt: skip
    for precision, most in parity.FLIPS.items():
        if precision != "fp32":
            flips = round(100 * most)
            assert parity.Differences(**found, verdict_flips=flips, precision=precision).agree
            assert not parity.Differences(**found, verdict_flips=flips + 1, precision=precision).agree
            one, infinite = {**found, "inputs": 1}, {**found, "score": float("inf")}
            assert parity.Differences(**one, verdict_flips=1, precision=precision).agree
            assert not parity.Differences(**infinite, verdict_flips=0, precision=precision).agree


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """A file that is absent, no graph, or a graph of something else."""
    with pytest.raises(ArtifactError, match="cannot be read"):
        parity.session(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ArtifactError, match="not a whole ONNX file"):
        parity.session(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info
    node, one = onnx.helper.make_node("Relu", ["x"], ["y"]), [value(name, 1, [2]) for name in "xy"]
    other = onnx.helper.make_graph([node], "other", one[:1], one[1:])
    onnx.save(
        onnx.helper.make_model(other, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)]),
        tmp_path / "other.onnx",
    )
    with pytest.raises(ArtifactError, match="not a gate that ce-detect exported"):
        parity.session(tmp_path / "other.onnx")
    with pytest.raises(ArtifactError, match=r"no 'ce_detect\.manifest'"):
        parity.manifest_of(parity.session((tmp_path / "other.onnx").read_bytes()))


def test_clean_and_attacked_images_are_judged_by_both(tmp_path: Path) -> None:
    """Without attacks of one's own, those of the recipe; each set has its own figures."""
    made, content = graph()
    opened, images = parity.session(content), Images(tiny_images("plain", 6).numpy())
    manifest = {"recipe": {"attacks": [{"kind": "fgsm", "eps": "8/255"}]}}
    for attacks, names in ((None, ["clean", "fgsm 8/255"]), ((Attack.of("bim"),), ["clean", Attack.of("bim").name])):
        found = parity.verify(made, manifest, opened, images, attacks=attacks, cache=tmp_path, jobs=1)
        assert list(found) == names
        assert all(one.agree and one.inputs == 6 for one in found.values())


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


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    """As everywhere else; and one that is not the file that was asked for."""
    path = fused.write_graph(tmp_path)
    parity.session(path)
    with pytest.raises(ArtifactError, match="it is another file"):
        parity.session(path, sha256="0" * 64)
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    with pytest.raises(ArtifactError, match="edited or damaged"):
        parity.session(path)
