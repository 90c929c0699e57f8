"""The sanity check: what is drawn anew, and how alike maps are."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from support.models import tiny_classifier, tiny_images
from support.onnx_files import black_box_file
from torch import Tensor, nn

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import UsageError
from ce_detect.explain.methods import method
from ce_detect.explain.methods.base import Method
from ce_detect.explain.sanity import randomised_copies, rank_correlation, sanity_check, ssim


class Picture(Method):
    """A method that never looks at the model, as an edge detector."""

    name, title, paper, gradients = "picture", "Picture", "", False

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        return x.mean(1)


@pytest.mark.parametrize("name", ["effect-map", "grad-cam", "input-x-gradient"])
def test_random_layers_give_another_map(name: str) -> None:
    """The more of them, the less alike; the classifier itself stays as it is."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 4)
    before = classifier.logits(x)
    stages = sanity_check(method(name), classifier, x, [0, 1, 2, 3], stages=3)
    assert [stage.layers for stage in stages] == pytest.approx([1 / 3, 2 / 3, 1], abs=0.1)
    assert abs(float(stages[-1].rank_correlation.mean())) < 0.7
    assert float(stages[-1].ssim.mean()) < 0.9
    torch.testing.assert_close(classifier.logits(x), before)


def test_a_map_of_the_picture_alone_fails_the_check() -> None:
    """Its map stays the same."""
    stages = sanity_check(Picture(), tiny_classifier("plain"), tiny_images("plain", 2), [0, 1], stages=1)
    assert stages[0].rank_correlation.tolist() == pytest.approx([1.0, 1.0])
    assert stages[0].ssim.tolist() == pytest.approx([1.0, 1.0])


def test_the_last_layer_is_drawn_first() -> None:
    """Its weights are new, and those of the first layer are not; mean and deviation stay about the same."""
    classifier = tiny_classifier("plain")
    assert isinstance(classifier, nn.Module)
    _, copied = next(randomised_copies(classifier, stages=4, seed=0))
    pairs = list(zip(classifier.parameters(), copied.parameters(), strict=True))
    assert not torch.equal(*pairs[-1])
    assert torch.equal(*pairs[0])


def test_rank_correlation_is_spearmans() -> None:
    """As scipy computes it for one map; 0 for a map without an order."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 8, 8, generator=generator)
    expected = [spearmanr(one.flatten(), other.flatten()).statistic for one, other in zip(a, b, strict=True)]
    assert rank_correlation(a, b).tolist() == pytest.approx(expected)
    assert rank_correlation(a, torch.zeros_like(a)).tolist() == [0.0] * 3


def test_ssim_of_one_window_is_the_formula() -> None:
    """Means, variances and covariance of the seven by seven pixels."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 7, 7, generator=generator)
    means, covariance = (a.mean(), b.mean()), ((a - a.mean()) * (b - b.mean())).mean()
    variances = a.var(correction=0), b.var(correction=0)
    expected = (2 * means[0] * means[1] + 1e-4) * (2 * covariance + 9e-4)
    expected /= (means[0] ** 2 + means[1] ** 2 + 1e-4) * (sum(variances) + 9e-4)
    torch.testing.assert_close(ssim(a, b)[0], expected, rtol=1e-3, atol=1e-4)
    assert float(ssim(a, a)) == pytest.approx(1.0)


def test_a_graph_has_no_parameters_to_randomise() -> None:
    """And says what to do."""
    classifier = wrap(onnx_models.load(black_box_file()), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    with pytest.raises(UsageError, match="has no parameters to randomise"):
        sanity_check(method("effect-map"), classifier, classifier.probe(1), [0])
