"""Maps that were tried: the one that was taken is the package's own."""

from __future__ import annotations

import torch
from support.models import tiny_classifier, tiny_images

from benchmarks.explain.windows import COARSE, _combined, _moved
from ce_detect.explain.effect_maps import SMALL, effect_maps


def test_the_map_that_was_taken_is_the_default() -> None:
    """Pixels of a small picture and larger windows, each size by its area; a sixteenth of 16 pixels is one, too."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 1)
    assert x.shape[-1] == 16 <= SMALL
    labels = classifier.logits(x).argmax(1)
    tried = _combined([_moved(classifier, x, labels, share, "mean") for share in (0.0, *COARSE)], "area")
    torch.testing.assert_close(tried, effect_maps(classifier, x).target[0], atol=1e-4, rtol=1e-3)
