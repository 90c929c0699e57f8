"""The head that needs no attack: what its distance is, and that it stays thin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.data import Images
from ce_detect.evaluate.metrics import auroc
from ce_detect.features.signature import Signature
from ce_detect.fitting.feature_tables import features
from ce_detect.fitting.mahalanobis import MOST_DIRECTIONS, SHRINKAGE, START, distance_head
from ce_detect.interventions import Flip

Floats = NDArray[np.float32]


def described(*names: str) -> Any:
    """A signature with these features and no interventions."""
    return SimpleNamespace(names=names, interventions=[])


def dense(clean: Floats, x: Floats, groups: list[list[int]]) -> NDArray[np.float64]:
    """Root of the mean over groups of squared Mahalanobis distances a feature, with whole matrices."""
    low, middle, high = np.quantile(clean, [0.25, 0.5, 0.75], axis=0)
    mean = np.arcsinh((clean - middle) / (high - low)).mean(0)
    deviation = np.arcsinh((clean - middle) / (high - low)).std(0)
    standard, z = ((np.arcsinh((rows - middle) / (high - low)) - mean) / deviation for rows in (clean, x))
    total = np.zeros(len(x))
    for group in groups:
        correlation = (1 - SHRINKAGE) * np.corrcoef(standard[:, group].T) + SHRINKAGE * np.eye(len(group))
        total += np.einsum("ni,ij,nj->n", z[:, group], np.linalg.inv(correlation), z[:, group]) / len(group)
    return np.sqrt(total / len(groups))


def test_distance_is_the_mean_over_groups() -> None:
    """Channels of a site, logits and contributions each count as one, and within each the distance is Mahalanobis'."""
    pixels = load_digits().data.astype(np.float32)
    clean = pixels[:, pixels.std(0) > 2][:600, :9] + np.random.default_rng(0).normal(size=(600, 9)).astype(np.float32)
    names = (
        *(f"trace.logit[{i}]" for i in range(2)), *START[:1],
        *(f"trace.{moment}[layer[1]][{i}]" for moment in ("mean", "deviation") for i in range(2)),
        "trace.contribution[0]", "trace.contrast[0]",
    )  # fmt: skip
    head = distance_head(described(*names), clean[:500])
    expected = dense(clean[:500], clean[500:], [[0, 1, 2], [3, 4, 5, 6], [7, 8]])
    np.testing.assert_allclose(head(torch.from_numpy(clean[500:])), expected, rtol=1e-3)


def test_many_features_and_few_images_stay_thin() -> None:
    """With 3,000 features of one kind and 150 images the head keeps 15 directions, and separates what lies off them."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(3, 3000))
    images = rng.normal(size=(300, 3)) @ plane + 0.1 * rng.normal(size=(300, 3000))
    head = distance_head(described(*(f"trace.contribution[{i}]" for i in range(3000))), images[:150].astype(np.float32))
    assert head.directions.shape == (3000, 15)
    fresh = images[150:].astype(np.float32)
    off = fresh + 0.3 * rng.normal(size=fresh.shape).astype(np.float32)
    assert auroc(head(torch.from_numpy(fresh)).numpy(), head(torch.from_numpy(off)).numpy()) > 0.99


def test_features_that_never_vary_are_left_out() -> None:
    """A channel that was dead on all clean images says nothing when it wakes, alone in its group or not."""
    clean = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    clean[:, [1, 3]] = 0
    head = distance_head(described("trace.logit[0]", "trace.logit[1]", "trace.energy", "trace.mean[a][0]"), clean)
    awake = clean + np.float32([0, 1, 0, 1])
    assert torch.equal(head(torch.from_numpy(awake)), head(torch.from_numpy(clean)))


@pytest.fixture(scope="module")
def attacked(fashion: TorchClassifier, demo_images: Images) -> Floats:
    """The images after one step of the gradient's sign of 4/255, where it changes the decision."""
    x = torch.from_numpy(demo_images.x.copy()).requires_grad_(True)
    logits = fashion.logits(x)
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, logits.argmax(1)), x)
    with torch.no_grad():
        moved = (x + 4 / 255 * gradient.sign()).clamp(0, 1)
        return np.asarray(moved[fashion.logits(moved).argmax(1) != logits.argmax(1)].numpy())


def test_attacks_are_far_from_clean_images(fashion: TorchClassifier, demo_images: Images, attacked: Floats) -> None:
    """Fitted on clean images alone, the distance tells attacked ones from others; an intervention helps."""
    values = []
    for interventions in ([], [Flip()]):
        signature = Signature(fashion, interventions, chunk=64)
        clean = features(signature, demo_images.x)
        head = distance_head(signature, clean[:300])
        assert head.directions.shape[1] <= 3 * MOST_DIRECTIONS
        fresh, moved = (head(torch.from_numpy(rows)).numpy() for rows in (clean[300:], features(signature, attacked)))
        values.append(auroc(fresh, moved))
    assert values[1] > values[0]
    assert values[1] > 0.8
