"""What scikit-learn decides, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from support.heads import CENTER, SCALE, data, fitted, log_odds, mlp, network_head, squashed

from ce_detect.core.errors import CalibrationError
from ce_detect.heads.network import NetworkHead


@pytest.mark.parametrize("regularisation", [0.01, 1.0])
def test_linear_head_decides_as_scikit_learn_does(regularisation: float) -> None:
    """Without networks the score is the logit of the logistic regression's probability, so the decisions agree."""
    estimator = fitted(LogisticRegression(C=regularisation), data())
    got = network_head(estimator, [])(torch.from_numpy(data()[0])).numpy()
    assert got.shape == (300,)
    np.testing.assert_allclose(got, log_odds(estimator, data()[0]), atol=1e-4)
    decided, clear = estimator.predict(squashed(data()[0])), np.abs(got) > 1e-3
    assert ((got > 0)[clear] == (decided == 1)[clear]).all()
    assert 0 < decided.mean() < 1


@pytest.mark.parametrize(
    "networks",
    [[mlp(0)], [mlp(1, (7, 5))], [mlp(2), mlp(3), mlp(4)]],
    ids=["one layer", "two layers", "three members"],
)
def test_score_is_the_mean_of_linear_model_and_networks(networks: list[Any]) -> None:
    """The score is half the linear model's log-odds and half the mean of the networks', each as in scikit-learn."""
    linear, networks = fitted(LogisticRegression(C=0.3), data()), [fitted(network, data()) for network in networks]
    got = network_head(linear, networks)(torch.from_numpy(data()[0]))
    ensemble = np.mean([log_odds(network, data()[0]) for network in networks], axis=0)
    np.testing.assert_allclose(got, (log_odds(linear, data()[0]) + ensemble) / 2, atol=1e-4)
    assert not np.allclose(ensemble, log_odds(linear, data()[0]), atol=0.1)


def test_with_several_attacks_the_score_is_the_log_odds_of_any_of_them() -> None:
    """Class 0 is clean: the probabilities of all others add up, in the linear model and in each network."""
    x, y = data()[0], data()[1] * (1 + (data()[0][:, 2] > 100))
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


def test_state_makes_the_head_again() -> None:
    """Weights, centre, scale and Platt scaling are all in the state dict."""
    linear, networks = fitted(LogisticRegression(), data()), [fitted(mlp(seed, (7, 5)), data()) for seed in range(2)]
    first = network_head(linear, networks[:1])
    first.slope.fill_(2.0)
    second = NetworkHead.from_estimators(
        CENTER + 1, SCALE * 2, fitted(LogisticRegression(C=1e-3), data()), networks[1:]
    )
    second.load_state_dict(first.state_dict())
    x = torch.from_numpy(data()[0])
    assert torch.equal(first(x), second(x))
    assert float(second.slope) == 2.0
