"""What is set in a hidden layer, and what is left alone there."""

from __future__ import annotations

import torch
from support.interventions import feature_map, tokens

from ce_detect.interventions import from_spec


def test_clip_limits_each_channel_by_its_own_spread() -> None:
    """No value is further from its channel's mean than the setting allows, and values within stay as they are."""
    h = feature_map()
    out = from_spec({"kind": "Clip", "site": "layer", "spread": 1.0})(h)
    mean, deviation = h.mean((2, 3), keepdim=True), h.std((2, 3), keepdim=True)
    assert ((out - mean).abs() <= deviation * 1.001 + 1e-6).all()
    inside = (h - mean).abs() < deviation * 0.9
    assert inside.any()
    assert torch.equal(out[inside], h[inside])


def test_ablation_takes_every_channel_once() -> None:
    """Over the draws each channel is replaced by its mean exactly once, also in groups of unequal size."""
    h = feature_map()
    for groups in (2, 3, 4):
        out = from_spec({"kind": "AblateChannels", "site": "layer", "groups": groups})(h).unflatten(0, (groups, 7))
        ablated = (out != h).flatten(3).any(-1)[:, 0]
        flat = torch.isclose(out[:, 0], h[0].mean((1, 2), keepdim=True)).flatten(2).all(-1)
        assert ablated.sum(0).tolist() == [1, 1, 1, 1]
        assert torch.equal(ablated, flat)


def test_dropped_tokens_are_the_mean_of_the_others_and_spare_the_first() -> None:
    """Each token stays or becomes the mean over all but the class token, which always stays; patterns differ."""
    h = tokens()
    drop = from_spec({"kind": "DropTokens", "site": "blocks", "count": 10, "draws": 4, "keep": 0.5})
    out = drop(h).unflatten(0, (4, 7))
    kept = (out == h).all(-1)
    dropped = torch.isclose(out, h[:, 1:].mean(1, keepdim=True).expand_as(h)).all(-1)
    assert kept[:, :, 0].all()
    assert (kept ^ dropped).all()
    assert 0.2 < float(kept[:, :, 1:].float().mean()) < 0.8
    assert not torch.equal(kept[0], kept[1])


def test_ablation_of_tokens_takes_every_channel_once() -> None:
    """On tokens a channel is the last dimension, and its mean is taken over the tokens."""
    h = tokens()
    out = from_spec({"kind": "AblateChannels", "site": "blocks", "groups": 2})(h).unflatten(0, (2, 7))
    flat = torch.isclose(out, h.mean(1, keepdim=True).expand_as(out)).all(2)
    assert flat.sum(0).tolist() == [[1, 1, 1, 1]] * 7
