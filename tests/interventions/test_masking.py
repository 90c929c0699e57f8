"""Masks hide what they say, and show the baseline there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.interventions import feature_map, pixels
from torch import Tensor

from ce_detect.interventions import from_spec


@pytest.mark.parametrize("kind", ["GridMask", "RandomMask"])
@pytest.mark.parametrize("h", [pixels(), feature_map()], ids=["pixels", "latents"])
def test_mask_and_its_reverse_add_up(kind: str, h: Tensor) -> None:
    """What a mask hides, its reverse shows: with the mean as baseline the two add up to the tensor and its mean."""
    shown = from_spec({"kind": kind, "site": "layer"})(h)
    hidden = from_spec({"kind": kind, "site": "layer", "reverse": True})(h)
    whole = h + h.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(shown + hidden, whole.repeat(len(shown) // len(h), 1, 1, 1), rtol=1e-5, atol=1e-5)


def test_grid_mask_hides_one_cell_at_a_time() -> None:
    """Each draw puts the mean in one cell and leaves the rest; over the draws every pixel is hidden once."""
    h = pixels()[:, :, :12, :10]
    out = from_spec({"kind": "GridMask", "cells": 2})(h).unflatten(0, (4, 7))
    mean = h.mean(dim=(2, 3), keepdim=True)
    hidden = torch.isclose(out, mean.expand_as(out)) & ~torch.isclose(h, mean.expand_as(h))
    kept = torch.isclose(out, h.expand_as(out))
    assert (hidden | kept).all()
    assert (hidden.sum(0) + torch.isclose(h, mean.expand_as(h)) == 1).all()
    assert kept[0, 0, :, 6:].all()
    assert kept[0, 0, :, :, 5:].all()
    assert not kept[0, 0, :, :6, :5].any()


@pytest.mark.parametrize("kind", ["GridMask", "RandomMask"])
@pytest.mark.parametrize("baseline", ["mean", "blur", "noise"])
def test_reversed_masks_show_the_baseline_elsewhere(kind: str, baseline: str) -> None:
    """A mask of ones in reverse shows the baseline itself: a mean, a mean of 5 by 5 neighbours, or noise of its own."""
    h = pixels()
    hidden = from_spec({"kind": kind, "cells": 1, "reverse": True, "baseline": baseline, **_all_shown(kind)})(h)
    hidden = hidden if kind == "RandomMask" else from_spec({"kind": kind, "cells": 1, "baseline": baseline})(h)
    around = F.avg_pool2d(F.pad(h, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    mean = h.mean((2, 3), keepdim=True)
    if baseline == "noise":
        assert not torch.isclose(hidden, h, atol=1e-3).flatten(1).all(1)[[0, 1, 2, 4, 5, 6]].any()
        torch.testing.assert_close(hidden[3], h[3])  # an image without variation gets none
    else:
        torch.testing.assert_close(hidden, mean.expand_as(h) if baseline == "mean" else around)


def _all_shown(kind: str) -> dict[str, float]:
    return {"keep": 1.0, "draws": 1} if kind == "RandomMask" else {}


@pytest.mark.parametrize("reverse", [False, True])
def test_noise_baseline_keeps_to_the_images_own_range(reverse: bool) -> None:
    """The noise that shows through a mask lies between the least and the largest value of its own image."""
    h = feature_map()
    spec = {"kind": "GridMask", "site": "layer", "baseline": "noise", "reverse": reverse}
    out = from_spec(spec)(h).unflatten(0, (4, 7))
    least, largest = h.amin(dim=(1, 2, 3), keepdim=True), h.amax(dim=(1, 2, 3), keepdim=True)
    assert (out >= least - 1e-5).all()
    assert (out <= largest + 1e-5).all()


def test_random_mask_shows_the_share_it_is_told() -> None:
    """Over many draws, the share of cells that stay is the setting ``keep``."""
    h = torch.zeros(1, 1, 8, 8)
    h[..., ::2] = 1
    masks = from_spec({"kind": "RandomMask", "draws": 500, "keep": 0.8})
    shown = (masks(h) - 0.5).abs() * 2
    assert float(shown.mean()) == pytest.approx(0.8, abs=0.02)
