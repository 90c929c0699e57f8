"""Fakeness as a feature: that of the trained network, in a signature that is saved and made again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.counterfactuals import SHORT, fresh_folder, trained, zeros_and_ones
from support.digits import DigitCNN, DigitWary, classifier_of_digits, digits

from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import CalibrationError
from ce_detect.counterfactual import fit
from ce_detect.features.fakeness import Fakeness
from ce_detect.features.signature import Signature


def test_it_is_the_fakeness_of_the_trained_network() -> None:
    """From scratch and of the classifier's own layers, and made again from its description."""
    model = classifier_of_digits(DigitCNN)
    classifier = wrap(model, input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    own = fit(*digits(), SHORT, model=classifier, cache=fresh_folder(), progress=False)
    x = zeros_and_ones()[0][:9]
    for made in (trained(), own):
        feature = Fakeness.of(made, classifier)
        expected = made.fakeness(x)
        np.testing.assert_allclose(feature(torch.from_numpy(x))[:, 0].numpy(), expected, atol=1e-5)
        again = Fakeness(classifier, **feature.spec())
        again.load_state_dict(feature.state_dict())
        np.testing.assert_allclose(again(torch.from_numpy(x))[:, 0].numpy(), expected, atol=1e-5)


def test_it_stands_among_the_free_features_of_a_signature() -> None:
    """The last of them, whatever interventions follow."""
    classifier = wrap(classifier_of_digits(DigitCNN), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    signature = Signature(classifier, [], fakeness=Fakeness.of(trained(), classifier))
    x = torch.from_numpy(zeros_and_ones()[0][:5])
    assert signature.names[signature.free - 1] == "trace.fakeness"
    with torch.no_grad():
        features = signature(x)[1]
    np.testing.assert_allclose(features[:, signature.free - 1].numpy(), trained().fakeness(x), atol=1e-5)
    assert signature.intervening([]).names == signature.names


def test_layers_that_cannot_be_copied_are_refused() -> None:
    """With what to do in their place."""
    wary = wrap(classifier_of_digits(DigitWary), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    with pytest.raises(CalibrationError, match="trained from scratch"):
        Fakeness(wary, classes=10, width=4, depth=1, own=True)
