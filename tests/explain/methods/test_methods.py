"""Every method by the same rules: where its map sits, whose it is, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.explained import chessboard, linear, one_quadrant, stamped
from support.models import tiny_classifier, tiny_images
from support.onnx_files import black_box_file
from torch import Tensor

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import InputError, UsageError
from ce_detect.explain.methods import METHODS, method
from ce_detect.explain.methods.base import Method
from ce_detect.explain.methods.extremal_perturbation import ExtremalPerturbation
from ce_detect.explain.methods.meaningful_perturbation import MeaningfulPerturbation
from ce_detect.explain.methods.rise import RISE
from ce_detect.explain.methods.robust_perturbation import RobustPerturbation

QUICK = {
    "robust-perturbation": RobustPerturbation(steps=60),
    "meaningful-perturbation": MeaningfulPerturbation(steps=60),
    "extremal-perturbation": ExtremalPerturbation(steps=100, mirrored=False),
    "rise": RISE(masks=600),
}
"""Methods with fewer steps than usual."""


def quick(name: str) -> Method:
    """A method with few steps."""
    return QUICK.get(name) or method(name)


def inside(maps: Tensor) -> float:
    """Share of a map above its median that is in the top left quarter."""
    above = (maps - maps.median()).clamp_min(0)
    return float(above[:, :8, :8].sum() / above.sum())


LEAST = {
    "meaningful-perturbation": 0.65,  # smooth masks reach over the edge
    "extremal-perturbation": 0.75,
    "rise": 0.7,  # 600 masks leave some noise
    "grad-cam": 0.2,  # these average gradients over places, and cannot tell which of equal places count
    "grad-cam++": 0.2,
}
"""Least share of a map in the quarter, where it is not 0.95."""


@pytest.mark.parametrize("name", METHODS)
def test_the_map_sits_where_the_model_looks(name: str) -> None:
    """A model that looks at one quarter of the picture."""
    maps = quick(name).maps(one_quadrant(), chessboard(), [1])
    assert maps.shape == (1, 16, 16)
    assert inside(maps) >= LEAST.get(name, 0.95)


@pytest.mark.parametrize("name", [name for name, one in METHODS.items() if "cam" not in name and "guided" not in name])
def test_a_planted_shortcut_is_found(name: str) -> None:
    """A model that reads a stamp in the corner is caught: the stamp counts more than the object, a pixel."""
    classifier, x, stamp = stamped()
    maps = quick(name).maps(classifier, x, [1])
    thing = torch.zeros_like(stamp)
    thing[:, 5:11, 5:11] = True
    assert float(maps[stamp].mean()) > float(maps[thing].mean())


@pytest.mark.parametrize("name", METHODS)
def test_a_row_of_a_batch_has_the_map_that_it_has_alone(name: str) -> None:
    """And another label has another map: an image may come several times."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 2)
    together = quick(name).maps(classifier, torch.cat([x, x[:1]]), np.array([0, 1, 2]))
    alone = quick(name).maps(classifier, x[1:].numpy(), torch.tensor([1]))
    torch.testing.assert_close(together[1:2], alone, atol=2e-3, rtol=2e-3)
    assert (together[0] - together[2]).abs().max() > 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_cannot_be_cut_is_explained(name: str) -> None:
    """Hooks do what segments do."""
    classifier, x = tiny_classifier("branching"), tiny_images("branching", 1)
    maps = quick(name).maps(classifier, x, [0])
    assert maps.shape == (1, 12, 12)
    assert bool(maps.isfinite().all())


@pytest.mark.parametrize("name", METHODS)
def test_a_graph_without_gradients_has_the_maps_that_need_none(name: str) -> None:
    """The others say what to do."""
    classifier = wrap(onnx_models.load(black_box_file()), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    x = classifier.probe(1)
    if METHODS[name].gradients:
        with pytest.raises(UsageError, match=r"needs gradients, and OnnxClassifier has none.*effect-map, rise"):
            method(name).maps(classifier, x, [0])
    else:
        assert quick(name).maps(classifier, x, [0]).shape == (1, *x.shape[2:])


def test_gradients_of_a_linear_model_are_exact() -> None:
    """Pixel times weight, and pixel less mean times weight."""
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    classifier = linear(weight)
    torch.testing.assert_close(method("input-x-gradient").maps(classifier, x, [1])[0], x[0, 0] * weight)
    expected = (x[0, 0] - x.mean()) * weight
    found = method("integrated-gradients").maps(classifier, x, [1])[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("x", "labels", "said"),
    [
        (tiny_images("plain", 1), [4], "label 4 is no class of this model, which has classes 0 to 3"),
        (tiny_images("plain", 1), [-1], "label -1 is no class"),
        (tiny_images("plain", 1), [0, 1], "expected one whole number for each of 1 inputs"),
        (tiny_images("plain", 1), [0.5], "expected one whole number"),
        (torch.full((1, 3, 16, 16), 0.5), [0], "input 0 is constant"),
        (torch.full((1, 3, 16, 16), torch.nan), [0], "NaN"),
        (torch.rand(1, 3, 15, 16), [0], "16"),
    ],
)
def test_what_cannot_be_explained_is_refused(x: Tensor, labels: list[float], said: str) -> None:
    """With what was passed and what was expected."""
    with pytest.raises(InputError, match=said):
        method("effect-map").maps(tiny_classifier("plain"), x, labels)


def test_an_unknown_method_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(UsageError, match=r"method = 'magic', expected one of effect-map, robust"):
        method("magic")


def test_a_transformer_has_no_relus() -> None:
    """And what needs them says so."""
    classifier, x = tiny_classifier("transformer"), tiny_images("transformer", 1)
    with pytest.raises(UsageError, match="made for ReLUs, and this model has none"):
        method("guided-backpropagation").maps(classifier, x, [0])


def test_a_model_without_a_feature_map_has_no_class_activation() -> None:
    """And what needs one says so."""
    with pytest.raises(UsageError, match="this model has none; its layers are not known"):
        method("grad-cam").maps(linear(torch.ones(8, 8)), torch.rand(1, 1, 8, 8), [1])
