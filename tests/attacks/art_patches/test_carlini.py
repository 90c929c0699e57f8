"""Carlini-Wagner: as good as ART's, with less work, and the same in any unit of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.attacks import evasion
from support.attacks import attacked, labels
from support.models import Subject, as_array, tiny_images, tiny_model
from torch import Tensor, nn

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.attacks.art_patches.carlini import CarliniL2Method
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.types import Floats

ROUNDS = {"max_iter": 10, "binary_search_steps": 10, "initial_const": 0.01, "batch_size": 16, "verbose": False}


class Counted(Estimator):
    """An estimator that counts images: one for a forward pass, three for a gradient."""

    passes = 0

    def logits(self, x: Tensor) -> Tensor:
        """Outputs, counted."""
        self.passes += len(x) * (3 if x.requires_grad else 1)
        return super().logits(x)


def distances(attack: Any, x: Floats) -> tuple[Floats, float]:
    """L2 distances ``(n,)`` of what fools, infinite of what does not, and passes for an image."""
    made = attack.generate(x=x)
    fooled = attack.estimator.labels(made) != attack.estimator.labels(x)
    found = np.linalg.norm((made - x).reshape(len(x), -1), axis=1)
    return np.where(fooled, found, np.inf), attack.estimator.passes / len(x)


def test_it_fools_as_often_from_as_near_as_that_of_art_in_half_the_passes(plain: Subject) -> None:
    """Both search the smallest change; what differs is how often the classifier is asked."""
    x = as_array(tiny_images("plain", 12))
    theirs, many = distances(evasion.CarliniL2Method(Counted(plain.classifier), **ROUNDS), x)
    ours, few = distances(CarliniL2Method(Counted(plain.classifier), **ROUNDS), x)
    assert np.isfinite(ours).sum() >= np.isfinite(theirs).sum() > 10
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert ours[both].mean() < 1.05 * theirs[both].mean()
    assert few < many / 2


def test_the_unit_of_pixels_does_not_matter(plain: Subject) -> None:
    """A model that takes grey levels of 255 has the same images attacked in the same way."""

    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_model("plain")

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x / 255)

    x = as_array(plain.x)
    levels = wrap(Levels().eval(), input_shape=(3, 16, 16), bounds=(0.0, 255.0))
    one = attacked(plain.classifier, "cw-l2", x)
    other = attacked(levels, "cw-l2", x * 255) / 255
    assert (one != x).any()
    assert np.linalg.norm(other - x) == pytest.approx(np.linalg.norm(one - x), rel=0.01)


def test_what_cannot_be_fooled_stays_to_the_bit(plain: Subject) -> None:
    """An image is changed only where that changes the decision."""
    x = as_array(plain.x)
    weak = attacked(plain.classifier, "cw-l2", x, initial_const=1e-6, max_iter=1, binary_search_steps=1)
    np.testing.assert_array_equal(weak, x)
    some = attacked(plain.classifier, "cw-l2", x, max_iter=2, binary_search_steps=1)
    changed = (some != x).any((1, 2, 3))
    np.testing.assert_array_equal(changed, labels(plain.classifier, some) != labels(plain.classifier, x))


def test_confidence_is_kept(plain: Subject) -> None:
    """The logit of another class leads by as much as was asked for, and that takes a larger change."""
    x = as_array(plain.x)
    settings = {"max_iter": 10, "binary_search_steps": 8}
    near, far = (attacked(plain.classifier, "cw-l2", x, confidence=kappa, **settings) for kappa in (0.0, 1.0))
    before = torch.from_numpy(labels(plain.classifier, x))[:, None]
    with torch.no_grad():
        logits = plain.classifier.logits(torch.from_numpy(far))
    lead = logits.scatter(1, before, -torch.inf).amax(1) - logits.gather(1, before)[:, 0]
    changed = torch.from_numpy((far != x).any((1, 2, 3)))
    assert changed.any()
    assert lead[changed].min() > 1 - 1e-4
    assert np.linalg.norm(far[changed.numpy()] - x[changed.numpy()]) > np.linalg.norm(near - x)
