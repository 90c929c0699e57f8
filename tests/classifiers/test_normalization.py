"""Preprocessing inside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.elsewhere import elsewhere
from torch import nn

from ce_detect.classifiers.interface import fingerprint
from ce_detect.classifiers.normalization import Normalized
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ModelError
from ce_detect.data import Images
from ce_detect.demo.model import fashion_cnn

MEAN, STD = 0.2860, 0.3530
"""What the demo classifier subtracts and divides by, inside."""


def bare() -> nn.Module:
    """The demo classifier without its preprocessing."""
    model = fashion_cnn()
    model.mean.fill_(0)
    model.std.fill_(1)
    return model


@pytest.mark.parametrize("form", [float, lambda value: [value]])
def test_normalised_model_takes_plain_pixels(form: Any, demo_images: Images) -> None:
    """The wrapper does what the model did inside, for one number or one a channel, and keeps its mode."""
    x = torch.from_numpy(demo_images.x[:8])
    with torch.inference_mode():
        expected = fashion_cnn()(x)
        torch.testing.assert_close(Normalized(bare(), mean=form(MEAN), std=form(STD))(x), expected)
        torch.testing.assert_close(Normalized(fashion_cnn(), scale=1 / 255)(255 * x), expected, atol=1e-4, rtol=1e-4)
    assert not Normalized(bare()).training
    assert Normalized(bare().train()).training


def test_normalised_model_is_cut_like_any_other(demo_images: Images) -> None:
    """It is wrapped, traced and resumed, and its preprocessing is part of what is fingerprinted."""
    wrapped = wrap(Normalized(bare(), mean=MEAN, std=STD), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    x = torch.from_numpy(demo_images.x[:4])
    with torch.inference_mode():
        trace = wrapped.trace(x)
        site = next(iter(wrapped.sites))
        torch.testing.assert_close(wrapped.resume(site, trace.latents[site], x), trace.logits)
        torch.testing.assert_close(trace.logits, fashion_cnn()(x), atol=1e-3, rtol=1e-3)
    assert wrapped.fingerprint() != fingerprint(Normalized(bare(), mean=0.3, std=STD))


def test_senseless_deviation_is_refused() -> None:
    """A division by zero would be found much later."""
    with pytest.raises(ModelError, match="must be positive"):
        Normalized(bare(), std=[0.0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_computes_as_the_model_does(dtype: torch.dtype, demo_images: Images) -> None:
    """In the type of the model's weights and where they are: else the first layer would refuse the pixels."""
    x = torch.from_numpy(demo_images.x[:8])
    with torch.inference_mode():
        expected = fashion_cnn()(x)
        found = Normalized(bare().to(dtype), mean=MEAN, std=STD)(x.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))
    with elsewhere() as device:
        assert Normalized(bare().to(device), mean=MEAN)(x.to(device)).device == device
