"""The picture of the README is what its program draws, and the figures in it are those of the classifier."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

from docs.programs import picture


def test_the_picture_is_what_the_program_draws() -> None:
    """Within what versions of fonts and renderers change."""
    sink = io.BytesIO()
    picture.draw(json.loads(picture.FIGURES.read_text())).savefig(sink, dpi=picture.DPI)
    drawn, kept = (np.asarray(Image.open(file).convert("L"), np.float32) for file in (sink, picture.PICTURE))
    assert drawn.shape == kept.shape
    assert np.abs(drawn - kept).mean() < 2


def test_the_figures_can_be_measured_again() -> None:
    """Few images give the same answers, up to rounding; the attack turns the one that is shown."""
    kept, again = json.loads(picture.FIGURES.read_text()), picture.measured(limit=16)
    for kind in ("clean", "attacked"):
        assert again[kind]["label"] == kept[kind]["label"]
        np.testing.assert_allclose(again[kind]["before"], kept[kind]["before"], atol=0.3)
        np.testing.assert_allclose(again[kind]["after"], kept[kind]["after"], atol=0.3)
    assert kept["clean"]["label"] != kept["attacked"]["label"]
    assert np.median(kept["attacked"]["falls"]) > np.median(kept["clean"]["falls"]) + 2
