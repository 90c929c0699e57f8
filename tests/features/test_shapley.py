"""Shapley values of the penultimate layer: exact, complete, and refused where there is no linear last layer."""

from __future__ import annotations

import pytest
import torch
from support.models import TINY, tiny_classifier, tiny_images, tiny_model
from torch import nn

from ce_detect.classifiers.base import PENULTIMATE
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import CalibrationError
from ce_detect.data import load_data
from ce_detect.features import activations
from ce_detect.features.activations import EXTREMES
from ce_detect.features.shapley import ShapleyValues
from ce_detect.fitting import shapley


@pytest.fixture(scope="module")
def values(fashion: TorchClassifier) -> ShapleyValues:
    """Of a real model, with real clean images as the background."""
    made = shapley.fitted(fashion, load_data("demo").x[:200])
    assert made is not None
    return made


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_the_closed_form_is_what_deep_shap_and_expected_gradients_give(
    fashion: TorchClassifier, values: ShapleyValues
) -> None:
    """Captum's DeepLiftShap over the same background; integrated gradients from its mean are their expectation."""
    attr = pytest.importorskip("captum.attr")
    last = nn.Linear(*reversed(values.weight.shape), bias=False)
    last.weight = nn.Parameter(values.weight)
    background, judged = (torch.from_numpy(load_data("demo").x[part]) for part in (slice(200), slice(200, 206)))
    with torch.no_grad():
        before = fashion.trace(background, (PENULTIMATE,)).latents[PENULTIMATE]
        z, latents = fashion.trace(judged, (PENULTIMATE,))
        found = values.values(z, latents)
    highest = z.argmax(1)
    h = latents[PENULTIMATE]
    deep = attr.DeepLiftShap(nn.Sequential(last)).attribute(h, before, target=highest)
    expected = attr.IntegratedGradients(last).attribute(h, before.mean(0, keepdim=True), target=highest)
    torch.testing.assert_close(found[:, 0], deep.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[:, 0], expected.float().detach(), rtol=1e-3, atol=1e-4)


def test_values_sum_to_the_logit_above_that_of_the_background(fashion: TorchClassifier, values: ShapleyValues) -> None:
    """Efficiency, the axiom of Shapley: for each of the ten highest classes."""
    x = torch.from_numpy(load_data("demo").x[200:232])
    with torch.no_grad():
        z, latents = fashion.trace(x, (PENULTIMATE,))
        mean = fashion.resume(PENULTIMATE, values.background[None], x[:1])
        top = z.topk(10, dim=1)
        expected = top.values - mean.expand_as(z).gather(1, top.indices)
        torch.testing.assert_close(values.values(z, latents).sum(2), expected, rtol=1e-3, atol=1e-3)


def test_each_feature_has_a_name_also_where_a_layer_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """All values of winner and runner-up, or the most extreme ones, and a size for each rank."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 3)
    assert classifier.head_weight is not None
    classes, width = classifier.head_weight.shape
    with torch.no_grad():
        z, latents = classifier.trace(x, (PENULTIMATE,))
        made = ShapleyValues(classifier, width)
        assert made(z, latents).shape == (3, 2 * width + min(10, classes))
        assert len(made.names) == 2 * width + min(10, classes)
        assert len(set(made.names)) == len(made.names)
        monkeypatch.setattr(activations, "EXTREMES", 2)
        monkeypatch.setattr("ce_detect.features.shapley.WIDE", 1)
        monkeypatch.setattr("ce_detect.features.shapley.EXTREMES", 2)
        wide = ShapleyValues(classifier, width)
        found = wide(z, latents)
        assert found.shape == (3, 8 + min(10, classes)) == (3, len(wide.names))
        torch.testing.assert_close(found[:, :2], made.values(z, latents)[:, 0].topk(2).values)
    assert EXTREMES == 16


@pytest.mark.parametrize("width", [None, 3])
def test_a_classifier_without_such_a_layer_is_refused(width: int | None) -> None:
    """None that can be found, and one of another width than an artifact says."""
    shape = TINY["plain"]
    sites = None if width else tiny_classifier("plain").sites[:1]
    classifier = wrap(tiny_model("plain"), input_shape=shape.shape, bounds=shape.bounds, sites=sites)
    with pytest.raises(CalibrationError, match=r"SHAP signatures of \d+ activations need a linear last layer"):
        ShapleyValues(classifier, width or 8)
