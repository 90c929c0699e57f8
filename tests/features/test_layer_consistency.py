"""What is pooled of each site."""

from __future__ import annotations

import torch

from ce_detect.features.layer_consistency import pool


def test_pooling_takes_moments_over_positions() -> None:
    """Maps and tokens give means and deviations a channel, vectors stay."""
    h = torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    tokens = h.flatten(2).transpose(1, 2)
    expected = torch.cat([h.mean((2, 3)), h.std((2, 3), correction=0)], dim=1)
    torch.testing.assert_close(pool(h), expected)
    torch.testing.assert_close(pool(tokens), expected)
    assert pool(h[:, :, 0, 0]) is not None
    assert torch.equal(pool(h[:, :, 0, 0]), h[:, :, 0, 0])
