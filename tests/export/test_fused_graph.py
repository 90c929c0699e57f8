"""The gate as one ONNX graph, held against PyTorch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from support.gates import MANIFEST, OUTPUTS, gate, graph
from support.models import TINY, tiny_classifier, tiny_images, tiny_model

from ce_detect.classifiers.base import site_shapes
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ModelError
from ce_detect.data.tensors import scaled
from ce_detect.export import parity
from ce_detect.export.fused_graph import check, fused
from ce_detect.interventions import (
    AblateConcept,
    Flip,
    GradientStep,
    LearnedMask,
    UniversalPerturbation,
)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_multi_label_gates_export() -> None:
    """A model with several labels keeps the label that its gate decides on."""
    made = gate("plain", "logistic", multi_label=True)
    opened = parity.session(fused(made, MANIFEST).SerializeToString())
    assert parity.differences(made, opened, tiny_images("plain", 16).numpy()).agree


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_same_gate_gives_the_same_bytes() -> None:
    """Exporting twice makes one file."""
    made, content = graph()
    assert fused(made, MANIFEST).SerializeToString(deterministic=True) == content


@pytest.mark.slow
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
    assert torch.equal(scaled(levels, (-1.0, 1.0)), levels.float() / 127.5 - 1)


def test_what_has_no_graph_is_refused() -> None:
    """Hooked models, gradients at run time and half precision: the error says what, and the remedy."""
    with pytest.raises(ModelError, match="could not be captured as a graph"):
        check(tiny_classifier("branching"), [Flip()])
    with pytest.raises(ModelError, match=r"GradientStep.*takes a gradient at run time"):
        check(tiny_classifier("plain"), [GradientStep()])
    half = wrap(tiny_model("plain").to(torch.bfloat16), input_shape=(3, 16, 16), bounds=(0.0, 1.0))
    with pytest.raises(ModelError, match=r"bfloat16.*model.float\(\)"):
        check(half, [])
