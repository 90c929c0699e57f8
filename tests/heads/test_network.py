"""Heads: what scikit-learn decides, as tensors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from ce_detect.core.errors import CalibrationError
from ce_detect.heads.base import squashing
from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.heads.network import NetworkHead

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
SCALE = torch.tensor([0.5, 2.0, 1.0, 30.0, 0.1])
CENTER = torch.tensor([0.0, -3.0, 100.0, 5.0, 0.2])


@pytest.fixture(scope="module")
def data() -> Data:
    """Features with heavy tails and on different scales, and labels that depend on them."""
    rng = np.random.default_rng(0)
    x = (rng.standard_t(3, size=(300, 5)) * SCALE.numpy() + CENTER.numpy()).astype(np.float32)
    y = (np.asarray((torch.from_numpy(x) - CENTER) / SCALE)[:, :2].sum(1) + rng.normal(size=300) > 0).astype(np.int64)
    return x, y


def squashed(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a head does to features before its estimator sees them, in plain NumPy."""
    return np.arcsinh((x - CENTER.numpy()) / SCALE.numpy()).astype(np.float64)


def fitted(estimator: Any, data: Data) -> Any:
    """The estimator, fitted on squashed features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(squashed(data[0]), data[1])


def log_odds(estimator: Any, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logit of the estimator's probability of class 1."""
    p = estimator.predict_proba(squashed(x))[:, 1]
    return np.asarray(np.log(p) - np.log1p(-p))


def mlp(seed: int, hidden: tuple[int, ...] = (8,)) -> MLPClassifier:
    """A small network."""
    return MLPClassifier(hidden, max_iter=30, random_state=seed)


def network_head(linear: Any, networks: list[Any]) -> NetworkHead:
    """The head made of these estimators."""
    return NetworkHead.from_estimators(CENTER, SCALE, linear, networks)


@pytest.mark.parametrize("regularisation", [0.01, 1.0])
def test_linear_head_decides_as_scikit_learn_does(data: Data, regularisation: float) -> None:
    """Without networks the score is the logit of the logistic regression's probability, so the decisions agree."""
    estimator = fitted(LogisticRegression(C=regularisation), data)
    got = network_head(estimator, [])(torch.from_numpy(data[0])).numpy()
    assert got.shape == (300,)
    np.testing.assert_allclose(got, log_odds(estimator, data[0]), atol=1e-4)
    decided, clear = estimator.predict(squashed(data[0])), np.abs(got) > 1e-3
    assert ((got > 0)[clear] == (decided == 1)[clear]).all()
    assert 0 < decided.mean() < 1


@pytest.mark.parametrize(
    "networks",
    [[mlp(0)], [mlp(1, (7, 5))], [mlp(2), mlp(3), mlp(4)]],
    ids=["one layer", "two layers", "three members"],
)
def test_score_is_the_mean_of_linear_model_and_networks(data: Data, networks: list[Any]) -> None:
    """The score is half the linear model's log-odds and half the mean of the networks', each as in scikit-learn."""
    linear, networks = fitted(LogisticRegression(C=0.3), data), [fitted(network, data) for network in networks]
    got = network_head(linear, networks)(torch.from_numpy(data[0]))
    ensemble = np.mean([log_odds(network, data[0]) for network in networks], axis=0)
    np.testing.assert_allclose(got, (log_odds(linear, data[0]) + ensemble) / 2, atol=1e-4)
    assert not np.allclose(ensemble, log_odds(linear, data[0]), atol=0.1)


def test_with_several_attacks_the_score_is_the_log_odds_of_any_of_them(data: Data) -> None:
    """Class 0 is clean: the probabilities of all others add up, in the linear model and in each network."""
    x, y = data[0], data[1] * (1 + (data[0][:, 2] > 100))
    linear, network = fitted(LogisticRegression(C=0.3), (x, y)), fitted(mlp(0), (x, y))
    expected = []
    for estimator in (linear, network):
        clean = estimator.predict_proba(squashed(x))[:, 0]
        expected.append(np.log1p(-clean) - np.log(clean))
    assert set(y) == {0, 1, 2}
    got = network_head(linear, [network])(torch.from_numpy(x))
    np.testing.assert_allclose(got, np.mean(expected, axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("linear", "networks", "named"),
    [
        (RandomForestClassifier(), [], "RandomForestClassifier .*expected a fitted LogisticRegression"),
        (mlp(0), [], "MLPClassifier .*expected a fitted LogisticRegression"),
        (LogisticRegression(), [LogisticRegression()], "LogisticRegression .*expected a fitted MLPClassifier"),
        (LogisticRegression(), [MLPClassifier((3,), activation="tanh")], "MLPClassifier .*activation 'relu'"),
    ],
)
def test_other_estimators_are_refused(linear: Any, networks: list[Any], named: str) -> None:
    """Trees and other activations do not become tensors; the error says what does."""
    with pytest.raises(CalibrationError, match=f"a {named}"):
        network_head(linear, networks)


def heads(data: Data) -> list[torch.nn.Module]:
    """One head of each kind."""
    linear = fitted(LogisticRegression(), data)
    return [
        network_head(linear, [fitted(mlp(seed), data) for seed in range(2)]),
        network_head(linear, []),
        DistanceHead(CENTER, SCALE, torch.zeros(5), 2 * torch.ones(5), 0.3 * torch.ones(5, 2)),
    ]


def test_batch_of_one_equals_a_row(data: Data) -> None:
    """A signature gets the same score alone, in company and in another order."""
    x = torch.from_numpy(data[0])
    for head in heads(data):
        scores = head(x)
        assert head(x[7:8]).shape == (1,)
        torch.testing.assert_close(head(x[7:8]), scores[7:8], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(head(x.flip(0)), scores.flip(0), rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_feature(data: Data) -> None:
    """Each score has a finite gradient in each feature."""
    for head in heads(data):
        x = torch.from_numpy(data[0]).requires_grad_(True)
        (gradient,) = torch.autograd.grad(head(x).sum(), x)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().amax(0).gt(0).all()


def test_distance_is_that_of_mahalanobis(data: Data) -> None:
    """With the diagonal and the directions of an inverse covariance, the score is a Mahalanobis distance."""
    z = squashed(data[0])
    mean, covariance = z.mean(0), np.cov(z.T)
    values, vectors = np.linalg.eigh(covariance)
    directions = vectors[:, 1:] * np.sqrt(1 / values[0] - 1 / values[1:])
    tensors = [torch.from_numpy(array) for array in (mean, np.full(5, 1 / values[0]), directions)]
    expected = np.sqrt(np.einsum("ni,ij,nj->n", z - mean, np.linalg.inv(covariance), z - mean))
    np.testing.assert_allclose(DistanceHead(CENTER, SCALE, *tensors)(torch.from_numpy(data[0])), expected, rtol=1e-4)


def test_a_fused_head_is_the_mean_of_its_three_scores(data: Data) -> None:
    """Linear log-odds, networks' log-odds and the standardised distance count alike; without networks, two do."""
    x = torch.from_numpy(data[0])
    linear, networks = fitted(LogisticRegression(), data), [fitted(mlp(0), data)]
    clean = DistanceHead(CENTER, SCALE, torch.zeros(5), torch.ones(5), torch.zeros(5, 1))
    unusual = (clean(x) - 2.0) / 0.5
    log_odds = network_head(linear, [])(x)
    both = network_head(linear, networks)
    torch.testing.assert_close(FusedHead(network_head(linear, []), clean, 2.0, 0.5)(x), (log_odds + unusual) / 2)
    torch.testing.assert_close(FusedHead(both, clean, 2.0, 0.5)(x), (2 * both(x) + unusual) / 3)


def test_a_standardised_score_counts_in_spreads_of_clean_inputs(data: Data) -> None:
    """Median 0 and interquartile range 1 on the clean inputs it was given, in the same order as before."""
    x = torch.from_numpy(data[0])
    clean = DistanceHead(CENTER, SCALE, torch.zeros(5), torch.ones(5), torch.zeros(5, 1))
    head = FusedHead(network_head(fitted(LogisticRegression(), data), []), clean, 2.0, 0.5)
    before = head(x)
    head.standardise(x[:200])
    low, middle, high = head(x)[:200].quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    assert middle == pytest.approx(0, abs=1e-5)
    assert high - low == pytest.approx(1, rel=1e-4)
    assert torch.equal(head(x).argsort(stable=True), before.argsort(stable=True))


def test_squashing_centres_and_scales_by_quantiles() -> None:
    """One wild value moves neither centre nor scale; a constant feature gets a scale that is not zero."""
    rng = np.random.default_rng(1)
    clean = np.stack([rng.normal(3, 2, 1001), np.full(1001, 7.0), np.r_[np.zeros(900), rng.normal(size=101)]], axis=1)
    clean[0, 0] = 1e4
    center, scale = squashing(clean)
    np.testing.assert_allclose(center, [3, 7, 0], atol=0.2)
    assert float(scale[0]) == pytest.approx(2 * 1.349, rel=0.1)
    assert (scale > 0).all()
    assert torch.isfinite((torch.from_numpy(clean) - center) / scale).all()


def test_log_likelihood_ratio_is_a_line() -> None:
    """Platt scaling: slope times score plus offset, NaN where no attack was seen."""
    head = DistanceHead(CENTER, SCALE, torch.zeros(5), torch.ones(5), torch.zeros(5, 1))
    score = torch.tensor([0.0, 1.0, 2.0])
    assert head.log_likelihood_ratio(score).isnan().all()
    head.slope.fill_(3.0)
    head.offset.fill_(-1.0)
    assert head.log_likelihood_ratio(score).tolist() == [-1, 2, 5]


def test_state_makes_the_head_again(data: Data) -> None:
    """Weights, centre, scale and Platt scaling are all in the state dict."""
    linear, networks = fitted(LogisticRegression(), data), [fitted(mlp(seed, (7, 5)), data) for seed in range(2)]
    first = network_head(linear, networks[:1])
    first.slope.fill_(2.0)
    second = NetworkHead.from_estimators(CENTER + 1, SCALE * 2, fitted(LogisticRegression(C=1e-3), data), networks[1:])
    second.load_state_dict(first.state_dict())
    x = torch.from_numpy(data[0])
    assert torch.equal(first(x), second(x))
    assert float(second.slope) == 2.0
