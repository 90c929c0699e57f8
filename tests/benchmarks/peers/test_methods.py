"""Peers of the benchmarks: each fits and scores, alike in any batch, and sees an obvious attack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.attacked_digits import attacked, classifier, fitted

from benchmarks.peers.methods import PEERS, feature_squeezing
from ce_detect.calibrate.cost.timing import ratios

pytestmark = pytest.mark.usefixtures("few_draws")

SIGN_FLIPS = {"causadv"}
"""Effects on probabilities, which shrink or grow under attack with how confident the classifier is without one."""


@pytest.mark.parametrize("name", PEERS)
def test_scores_are_finite_and_the_same_in_any_batch(name: str) -> None:
    """A batch of one scores as a row of a batch does."""
    x = torch.from_numpy(attacked(240, 300)[0].x[:12])
    together = fitted(name).score(x)
    alone = np.concatenate([fitted(name).score(image) for image in x[:3].split(1)])
    assert together.shape == (12,)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(alone, together[:3], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PEERS)
def test_attacked_images_score_higher_on_average(name: str) -> None:
    """One of three obvious attacks at least raises the mean score by a fifth of the spread of clean scores."""
    clean, sets = attacked(240, 300)
    plain = fitted(name).score(torch.from_numpy(clean.x))
    raised = [fitted(name).score(torch.from_numpy(twins.x)).mean() - plain.mean() for twins in sets.values()]
    if name in SIGN_FLIPS:
        raised = [abs(one) for one in raised]
    assert max(raised) > 0.2 * plain.std()


@pytest.mark.parametrize("name", ["lid", "ml-loo", "odds", "shap", "rlt", "beyond", "nic", "art-binary-input"])
def test_fitting_twice_gives_the_same_scores(name: str) -> None:
    """Whatever is drawn comes from the seed."""
    clean, sets = attacked(0, 240)
    x = torch.from_numpy(attacked(240, 300)[0].x[:4])
    again = PEERS[name]().fit(classifier(), clean, sets)
    np.testing.assert_allclose(again.score(x), fitted(name).score(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_costs_something(name: str) -> None:
    """Scoring takes time, and says how many forward passes it takes."""
    x = torch.from_numpy(attacked(240, 300)[0].x[:4])
    (cost,) = ratios(lambda: classifier().logits(x), [lambda: fitted(name).score(x)], rounds=3, warm_up=1)
    assert cost > 0
    assert PEERS[name].forwards >= 1


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")
def test_shap_values_of_a_linear_layer_are_those_of_deep_shap() -> None:
    """The closed form is what Captum's DeepLiftShap gives."""
    attr = pytest.importorskip("captum.attr")
    peer: Any = fitted("shap")
    x = torch.from_numpy(attacked(240, 300)[0].x[:3])
    with torch.no_grad():
        latent = classifier().trace(x).latents["penultimate"]
    last = torch.nn.Linear(latent.shape[1], 10)
    with torch.no_grad():
        last.weight.copy_(classifier().head_weight)
    background = torch.cat([peer.background[None] - 0.25, peer.background[None] + 0.25])
    explained = attr.DeepLiftShap(torch.nn.Sequential(last)).attribute(latent, background, target=4)
    torch.testing.assert_close(peer.values(x)[:, 4], explained.detach(), atol=1e-4, rtol=1e-4)


def test_non_local_means_keeps_an_even_picture_and_calms_a_noisy_one() -> None:
    """Averaging over like patches changes nothing where all are equal, and lowers the variance of noise."""
    even = torch.full((1, 3, 16, 16), 0.4)
    noisy = even + 0.01 * torch.randn(even.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(feature_squeezing.non_local_means(even, 13, 3, 2), even)
    assert feature_squeezing.non_local_means(noisy, 13, 3, 4).var() < 0.5 * noisy.var()
