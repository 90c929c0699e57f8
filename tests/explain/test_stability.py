"""The attack that keeps the label, and maps before and after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.calibrated import fresh, guard
from support.gates import black_box
from support.models import tiny_classifier, tiny_images
from torch import nn

from ce_detect.classifiers.log_odds import log_odds
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import UsageError
from ce_detect.explain.sanity import rank_correlation
from ce_detect.explain.stability import weakened


def test_labels_stay_while_their_log_odds_fall() -> None:
    """Within the reach, which is a part of the range; a step that would change a label is not made."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 16)
    low, high = classifier.bounds
    with torch.no_grad():
        before = classifier.logits(x)
        moved = weakened(classifier, x, 0.05)
        after = classifier.logits(moved)
    labels = before.argmax(1)
    assert torch.equal(after.argmax(1), labels)
    assert float((moved - x).abs().max()) <= 0.05 * (high - low) + 1e-6
    assert float(moved.min()) >= low
    assert float(moved.max()) <= high
    assert float((log_odds(before, labels) - log_odds(after, labels)).mean()) > 0.05


def test_of_a_multi_label_model_the_top_label_stays() -> None:
    """Its own log-odds fall, whatever other labels do."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    classifier = wrap(model, input_shape=(1, 4, 4), bounds=(0.0, 1.0), multi_label=True)
    x = torch.rand(8, 1, 4, 4)
    with torch.no_grad():
        before, after = classifier.logits(x), classifier.logits(weakened(classifier, x, 0.02))
    top = before.argmax(1)
    assert torch.equal(after.argmax(1), top)
    assert (after.gather(1, top[:, None]) < before.gather(1, top[:, None])).all()


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.5, float("nan")])
def test_what_is_no_part_of_the_range_is_refused(eps: float) -> None:
    """With what is expected."""
    with pytest.raises(UsageError, match="expected a part of the pixel range above 0 and up to 1"):
        weakened(tiny_classifier("plain"), tiny_images("plain", 1), eps)


def test_without_gradients_there_is_no_such_attack(tmp_path: Path) -> None:
    """The error says what to do."""
    with pytest.raises(UsageError, match="or leave the attack out"):
        weakened(black_box("plain", tmp_path), tiny_images("plain", 1), 0.01)


def test_an_explanation_has_maps_before_and_after() -> None:
    """Of the same class, by every method; the decision is the same, and the likeness is that of these maps."""
    x = fresh()[0][:2]
    found = guard().explain(x, method="grad-cam", attack=2 / 255)
    assert found.after is not None
    assert set(found.after.maps) == set(found.after.likeness) == {"target", "grad-cam"}
    assert np.array_equal(guard()(found.after.pixels).label, found.result.label)
    again = guard().explain(found.after.pixels, method="grad-cam")
    np.testing.assert_allclose(found.after.maps["target"], again.maps.target, atol=1e-4)
    expected = rank_correlation(found.maps.target, again.maps.target)
    assert found.after.likeness["target"] == pytest.approx(expected.tolist(), abs=1e-3)
    first = found.to_dict()[0]["after_attack"]
    assert first["eps"] == 2 / 255
    assert np.shape(first["maps"]["grad-cam"]) == (28, 28)
