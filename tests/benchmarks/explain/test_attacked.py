"""The attack that keeps the label: it raises the loss, within its reach, and no label changes."""

from __future__ import annotations

import torch
from support.models import tiny_classifier, tiny_images
from torch.nn.functional import cross_entropy

from benchmarks.explain.attacked import kept


def test_labels_stay_while_the_loss_rises() -> None:
    """A step that would change a label is not made."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 16)
    labels = classifier.logits(x).argmax(1).detach()
    moved = kept(classifier, x, labels, 0.05)
    assert torch.equal(classifier.logits(moved).argmax(1), labels)
    assert float((moved - x).abs().max()) <= 0.05 + 1e-6
    with torch.no_grad():
        losses = [float(cross_entropy(classifier.logits(pixels), labels)) for pixels in (x, moved)]
    assert losses[1] > 1.05 * losses[0]
