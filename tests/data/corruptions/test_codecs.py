"""Codecs are Pillow's, and levels are as many as asked for."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.corrupted import LEVEL, colour, corrupted, grey

from ce_detect.core.errors import CalibrationError


@pytest.mark.parametrize("codec", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize(("severity", "quality"), [(1, 85), (2, 60)])
def test_files_are_those_of_pillow(codec: str, severity: int, quality: int) -> None:
    """A colour image goes through one file, a grey one through a grey file, other channels through one each."""
    for x in (colour(1), grey(1), grey(2).reshape(1, 2, 28, 28)):
        pictures = [x[0].transpose(1, 2, 0)] if x.shape[1] == 3 else list(x[0])
        read = []
        for pixels in pictures:
            file = io.BytesIO()
            Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(file, codec, quality=quality)
            mode = "RGB" if pixels.ndim == 3 else "L"
            read.append(np.asarray(Image.open(file).convert(mode), np.float32) / 255)
        expected = read[0].transpose(2, 0, 1) if x.shape[1] == 3 else np.stack(read)
        np.testing.assert_allclose(corrupted(codec.lower(), x, severity)[0], expected, atol=1e-6)


@pytest.mark.parametrize("error", [KeyError("AVIF"), OSError("encoder avif not available")])
def test_a_codec_that_pillow_has_not_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what can be done about it."""

    def save(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(CalibrationError, match=r"cannot write AVIF: pip install .*or leave the kind out"):
        corrupted("avif", colour(1))


@pytest.mark.parametrize(("severity", "levels"), [(1, 64), (2, 32)])
def test_posterised_images_have_so_many_levels(severity: int, levels: int) -> None:
    """Evenly from black to white, each value at the nearest."""
    ramp = (np.arange(256, dtype=np.float32) / 255).reshape(1, 1, 16, 16)
    out = corrupted("posterise", ramp, severity)
    np.testing.assert_allclose(np.unique(out), np.arange(levels) / (levels - 1), atol=LEVEL)
    assert np.abs(out - ramp).max() <= 0.5 / (levels - 1) + LEVEL
    assert (np.diff(out.ravel()) >= 0).all()


def test_posterised_white_stays_white_at_any_severity() -> None:
    """Levels reach from black to white, however many there are."""
    white = np.ones((40, 1, 4, 4), np.float32)
    white[:, 0, 0] = (np.arange(40, dtype=np.float32) / 255)[:, None]  # other images, other draws
    assert (corrupted("posterise", white, None)[:, 0, 1:] == 1).all()
