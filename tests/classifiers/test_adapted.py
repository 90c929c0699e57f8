"""Models that take pixels by name or return more than logits are adapted; nothing else about them changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.awkward import WRAP, ByName, Forward, TwoInputs, cnn

from ce_detect.classifiers.adapted import AdaptedModel, adapted
from ce_detect.classifiers.interface import fingerprint
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ModelError

PLAIN = wrap(cnn(), **WRAP)
X = PLAIN.probe(3)


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (lambda net, x: (net(x), x), None),
        (lambda net, x: [x.mean((2, 3)), net(x)], 1),
        (lambda net, x: {"logits": net(x), "features": x.mean((2, 3))}, None),
        (lambda net, x: {"scores": net(x)}, None),
        (lambda net, x: {"a": x.mean((2, 3)), "b": net(x)}, "b"),
        (lambda net, x: SimpleNamespace(logits=net(x), loss=None), None),
    ],
)
@torch.inference_mode()
def test_logits_are_found_among_what_a_model_returns(function: Any, output: Any) -> None:
    """A tuple, a list, a dictionary or an object: same logits, sites and fingerprint as of the model that is in it."""
    model = Forward(function)
    classifier = wrap(model, **WRAP, output=output)
    assert isinstance(classifier, TorchClassifier)
    torch.testing.assert_close(classifier.logits(X), PLAIN.logits(X))
    assert [site.removeprefix("net.") for site in classifier.sites] == list(PLAIN.sites)
    assert classifier.fingerprint() == fingerprint(model)
    assert classifier.output == output


def test_what_is_taken_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the part, so that a user can name another."""
    wrap(Forward(lambda net, x: {"logits": net(x)}), **WRAP)
    assert "Forward returns dict; its 'logits' is taken for the logits. Name another with output=" in caplog.text


@torch.inference_mode()
def test_pixels_are_given_by_name_where_they_must_be() -> None:
    """A forward with keyword-only arguments gets them so."""
    model = ByName()
    torch.testing.assert_close(wrap(model, **WRAP).logits(X), model(pixel_values=X)["logits"])


def test_what_cannot_be_adapted_says_what_to_do() -> None:
    """More inputs, no logits, or several that may be: the error names them and the remedy."""
    with pytest.raises(ModelError, match=r"forward of TwoInputs needs more than the pixels: age\. Wrap it"):
        wrap(TwoInputs(), **WRAP)
    with pytest.raises(ModelError, match=r"'a', 'b'; it is not clear which are the logits.*output='...'"):
        wrap(Forward(lambda net, x: {"a": x.mean((2, 3)), "b": net(x)}), **WRAP)
    with pytest.raises(ModelError, match=r"Forward returns SimpleNamespace, in which there are no logits"):
        wrap(Forward(lambda net, x: SimpleNamespace(scores=None)), **WRAP)
    with pytest.raises(ModelError, match=r"returns NoneType, expected one tensor of logits"):
        wrap(Forward(lambda net, x: {"a": net(x)}), **WRAP, output="absent")


def test_a_model_of_one_tensor_is_left_as_it_is() -> None:
    """Nothing is put around it; what is put around another is in its mode."""
    model = cnn()
    assert adapted(model, X) is model
    made = adapted(ByName(), X)
    assert isinstance(made, AdaptedModel)
    assert not made.training
