"""The detector under ART's interface."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from art.defences.detector.evasion import EvasionDetector
from art.defences.preprocessor import GaussianAugmentation, SpatialSmoothing
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier
from support.calibrated import CLEAN, SETTINGS, cache, fresh, guard, images
from torch import nn

from ce_detect.adapters.art import CausalEffectDetector
from ce_detect.core.errors import CalibrationError, InputError, ModelError, NotCalibratedError
from ce_detect.demo.model import FashionCNN, fashion_cnn
from ce_detect.guard.detected_model import DetectedModel

PER_PIXEL = np.ones((1, 28, 28), np.float32)


def art_classifier(model: nn.Module | None = None, **settings: object) -> PyTorchClassifier:
    """ART's wrapper of the demo model."""
    given = {"clip_values": (0.0, 1.0), **settings}
    model = fashion_cnn() if model is None else model
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=10, **given)


def test_detect_reports_as_art_does() -> None:
    """A dictionary of arrays and one bool an image, the verdicts of the gate, whatever the batch size."""
    detector = CausalEffectDetector(guard())
    assert isinstance(detector, EvasionDetector)
    clean, attacked = fresh()
    x = np.concatenate([clean[:50], attacked[:50]])
    report, is_adversarial = detector.detect(x, batch_size=32)
    expected = guard()(x)
    assert is_adversarial.dtype == bool
    np.testing.assert_array_equal(is_adversarial, expected.is_adversarial)
    assert is_adversarial[50:].mean() > 0.5 > is_adversarial[:50].mean()
    for name in ("score", "p_value", "probability", "label", "logits"):
        np.testing.assert_allclose(report[name], getattr(expected, name), rtol=1e-4, atol=1e-4)
    assert report["threshold"] == expected.threshold


@pytest.mark.slow
def test_fit_calibrates_an_art_classifier_with_its_preprocessing() -> None:
    """Mean and standard deviation that ART keeps outside the model are gated with it; one-hot classes are read."""
    model = fashion_cnn()
    mean, std = np.array([float(model.mean)], np.float32), np.array([float(model.std)], np.float32)
    model.mean.zero_()
    model.std.fill_(1.0)
    classifier = art_classifier(model, preprocessing=(mean, std))
    detector = CausalEffectDetector(classifier, recipe=CLEAN, **SETTINGS)
    first = images()
    detector.fit(first.x, np.eye(10)[first.y], cache=cache())
    assert detector.guard.manifest["recipe"]["name"] == "clean"
    assert detector.guard.classifier.bounds == (0.0, 1.0)
    clean, _ = fresh()
    report, is_adversarial = detector.detect(clean)
    np.testing.assert_allclose(report["logits"], classifier.predict(clean), atol=1e-3)
    with torch.inference_mode():
        np.testing.assert_allclose(report["logits"], fashion_cnn()(torch.from_numpy(clean)), atol=1e-3)
    assert is_adversarial.mean() < 0.25


def test_a_classifier_without_preprocessing_is_guarded_as_it_is() -> None:
    """The artifact then also fits the bare model; training mode is left, as ART's predict leaves it."""
    model = fashion_cnn().train()
    detector = CausalEffectDetector(art_classifier(model))
    assert detector.guard.model is model
    assert not model.training


def test_parameters_follow_art() -> None:
    """What a detector was made with can be read and changed."""
    detector = CausalEffectDetector(guard(), fpr=0.02)
    detector.set_params(budget=1.5)
    assert detector.get_params() == {"recipe": "default", "fpr": 0.02, "budget": 1.5, "seed": 0}


def test_mixed_sets_are_refused() -> None:
    """Columns that are not the classes mean a set of clean and adversarial images, as ART's own detectors take."""
    detector = CausalEffectDetector(art_classifier())
    with pytest.raises(CalibrationError, match="y has 2 columns, but the classifier tells 10"):
        detector.fit(images().x, np.eye(2)[np.zeros(300, int)])


def test_unfitted_or_empty_is_named() -> None:
    """The errors are those of the package."""
    with pytest.raises(NotCalibratedError, match="calibrate"):
        CausalEffectDetector(DetectedModel(FashionCNN().eval())).detect(images().x[:2])
    with pytest.raises(InputError, match="empty batch"):
        CausalEffectDetector(guard()).detect(images().x[:0])


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (lambda: art_classifier(preprocessing_defences=SpatialSmoothing()), "SpatialSmoothing outside its model"),
        (lambda: art_classifier(preprocessing=GaussianAugmentation()), "GaussianAugmentation outside its model"),
        (lambda: art_classifier(preprocessing=(PER_PIXEL, PER_PIXEL)), "StandardisationMeanStdPyTorch outside"),
        (lambda: art_classifier(channels_first=False), "channels_first"),
        (lambda: BlackBoxClassifier(lambda x: x, (1, 28, 28), 10), "got BlackBoxClassifier, expected a DetectedModel"),
    ],
)
def test_what_cannot_be_gated_is_refused(classifier: object, message: str) -> None:
    """Whatever acts outside the model would be lost."""
    with pytest.raises(ModelError, match=message):
        CausalEffectDetector(classifier())  # type: ignore[operator]
