"""What the classifier decides, and which attacks changed it."""

from __future__ import annotations

import numpy as np
import pytest
from support.attacks import PGD, labels
from support.models import as_array, subject, tiny_images

from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate import decisions as module
from ce_detect.calibrate.decisions import decisions, successes
from ce_detect.data import Mapped

X = as_array(tiny_images("plain", 11))


def test_decisions_are_the_largest_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch after batch, wherever the images are; none of none."""
    monkeypatch.setattr(module, "BATCH", 4)
    classifier = subject("plain").classifier
    for x in (X, Mapped(X, lambda pixels: pixels)):
        np.testing.assert_array_equal(decisions(classifier, x), labels(classifier, X))
    assert len(np.unique(decisions(classifier, X))) > 1
    assert decisions(classifier, X[:0]).shape == (0,)


def test_successes_changed_the_decision_on_their_own_twin() -> None:
    """Images of other classes succeed, images of the same class do not; positions of twins stay with them."""
    classifier, index = subject("plain").classifier, np.array([4, 0, 9, 2, 7])
    decided = decisions(classifier, X)
    swapped = AttackedSet(PGD, X[[4, 1, 2, 3, 7]], index)
    expected = decided[[4, 1, 2, 3, 7]] != decided[index]
    assert 0 < expected.sum() < 5
    found = successes(classifier, {"a": swapped, "none": swapped.subset([])}, decided)
    np.testing.assert_array_equal(found["a"].index, index[expected])
    np.testing.assert_array_equal(found["a"].x, swapped.x[expected])
    assert len(found["none"]) == 0
