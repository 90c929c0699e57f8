"""The estimator that shows a classifier to ART's attacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from support.elsewhere import elsewhere
from support.models import Subject, as_array, subject
from torch import Tensor, nn

from ce_detect.attacks import Attack
from ce_detect.attacks.art_estimator import Estimator
from ce_detect.attacks.run import run
from ce_detect.classifiers.base import Trace
from ce_detect.classifiers.wrapping import wrap


def art_estimator(part: Subject) -> PyTorchClassifier:
    """ART's own wrapper of the same classifier."""
    return PyTorchClassifier(
        model=part.classifier, loss=nn.CrossEntropyLoss(), input_shape=part.tiny.shape, nb_classes=part.tiny.classes,
        clip_values=part.tiny.bounds, device_type="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("label", [None, 2, np.int64(1), np.array([0, 3, 1, 1, 2, 0, 3, 2])], ids=repr)
def test_class_gradient_equals_that_of_art(plain: Subject, label: Any) -> None:
    """The shortcut of one backward pass for one label an image gives what ART computes class by class."""
    x = as_array(plain.x)
    expected = art_estimator(plain).class_gradient(x, label=label)
    got = Estimator(plain.classifier).class_gradient(x, label=label)
    assert got.shape == expected.shape == (8, 4 if label is None else 1, 3, 16, 16)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_predictions_and_losses_equal_those_of_art(plain: Subject) -> None:
    """Logits come in batches of any size, and loss gradients are ART's."""
    x, ours, theirs = as_array(plain.x), Estimator(plain.classifier), art_estimator(plain)
    np.testing.assert_allclose(ours.predict(x, batch_size=3), theirs.predict(x), atol=1e-5)
    y = np.eye(4)[theirs.predict(x).argmax(1)]
    np.testing.assert_allclose(ours.loss_gradient(x, y), theirs.loss_gradient(x, y), atol=1e-6)


def test_double_precision_is_cast_at_the_door(plain: Subject) -> None:
    """Under NumPy 2 some attacks pass float64, which the model's float32 weights would refuse."""
    x, estimator = as_array(plain.x).astype(np.float64), Estimator(plain.classifier)
    logits = estimator.predict(x)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, estimator.predict(x.astype(np.float32)), atol=1e-6)
    y = np.eye(4)[logits.argmax(1)]
    assert np.isfinite(estimator.loss_gradient(x, y)).all()
    assert estimator.class_gradient(x, label=0).dtype == np.float32


class Foreign:
    """A classifier that is no torch module: the protocol and nothing else."""

    num_classes, input_shape, bounds, sites, elastic = 3, (1, 4, 4), (0.0, 1.0), (), False
    multi_label, label, head_weight, tolerance = False, None, None, 1e-3
    device = torch.device("cpu")

    def probe(self) -> Tensor:
        """A grey image."""
        return torch.full((1, *self.input_shape), 0.5)

    def logits(self, x: Tensor) -> Tensor:
        """Means of three parts of the image."""
        return torch.stack([part.mean((1, 2, 3)) * 10 for part in (x[..., :2], x[..., 2:], x[:, :, 2:])], dim=1)

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Logits alone."""
        return Trace(self.logits(x), {})

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Only from the input."""
        return self.logits(latent)

    def fingerprint(self) -> str:
        """There are no weights."""
        return "none"


def test_any_classifier_that_fits_the_protocol_can_be_attacked() -> None:
    """The estimator asks for no more than the seam promises."""
    x = np.random.default_rng(0).uniform(0.3, 0.6, size=(4, 1, 4, 4)).astype(np.float32)
    estimator = Estimator(Foreign())
    attacked = run(Attack.of("fgsm", eps=0.1), Foreign(), x, batch_size=4)
    assert np.abs(attacked - x).max() == pytest.approx(0.1, abs=1e-6)
    before, after = (estimator.predict(images) for images in (x, attacked))
    labels = before.argmax(1)
    rows = np.arange(4)
    assert (after[rows, labels] - after.mean(1) <= before[rows, labels] - before.mean(1) + 1e-5).all()


def test_attacker_is_shown_no_more_than_he_may_see(plain: Subject) -> None:
    """Without white-box access gradients raise; with decisions alone outputs are 1 for the label and 0 elsewhere."""
    x = as_array(plain.x)
    white, scores, decisions = (
        Estimator(plain.classifier, access=access) for access in ("white-box", "scores", "decisions")
    )
    np.testing.assert_array_equal(scores.predict(x), white.predict(x))
    np.testing.assert_array_equal(decisions.predict(x), np.eye(4, dtype=np.float32)[white.predict(x).argmax(1)])
    np.testing.assert_array_equal(decisions.labels(x), white.predict(x).argmax(1))
    y = np.eye(4)[white.predict(x).argmax(1)]
    for blind in (scores, decisions):
        with pytest.raises(RuntimeError, match="does not require grad"):
            blind.loss_gradient(x, y)
        with pytest.raises(RuntimeError, match="does not require grad"):
            blind.class_gradient(x, label=0)


def test_unit_range() -> None:
    """Pixels are mapped from [0, 1] to the bounds."""
    part = subject("in-place")
    x = as_array(part.x)
    mapped = Estimator(part.classifier, unit=True)
    assert tuple(mapped.clip_values) == (0, 1)
    np.testing.assert_allclose(mapped.predict((x + 1) / 2), Estimator(part.classifier).predict(x), atol=1e-5)


@pytest.mark.parametrize("known", [True, False], ids=["CUDA", "a device that ART does not know"])
def test_a_classifier_stays_on_its_device(known: bool) -> None:
    """ART moves a model to the one device that it takes; the user's model is the same one, and stays."""
    part = subject("plain")
    with elsewhere() as device, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: known)
        classifier = wrap(part.model.to(device), input_shape=part.tiny.shape, bounds=part.tiny.bounds)
        logits = Estimator(classifier).predict(as_array(part.x))
        assert classifier.device == next(part.model.parameters()).device == device
    np.testing.assert_allclose(logits, Estimator(part.classifier).predict(as_array(part.x)), atol=1e-4)
