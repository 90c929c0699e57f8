"""Pictures are what their programs draw, and the figures in them are those of the classifiers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.counterfactual.table import RADII, SUBJECTS, of_kinds
from docs.programs import curves, picture


def alike(drawn: Figure, kept: Path, dpi: int) -> bool:
    """Within what versions of fonts and renderers change."""
    sink = io.BytesIO()
    drawn.savefig(sink, dpi=dpi)
    new, old = (np.asarray(Image.open(file).convert("L"), np.float32) for file in (sink, kept))
    return new.shape == old.shape and bool(np.abs(new - old).mean() < 2)


def test_the_picture_is_what_the_program_draws() -> None:
    """That of the README."""
    assert alike(picture.draw(json.loads(picture.FIGURES.read_text())), picture.PICTURE, picture.DPI)


def test_the_curves_are_what_the_program_draws() -> None:
    """Of the results that are kept."""
    assert alike(curves.draw({subject: of_kinds(subject) for subject in SUBJECTS}), curves.PICTURE, curves.DPI)


def test_a_curve_is_the_mean_of_the_seeds_and_its_bars_hold_all_intervals() -> None:
    """Two seeds of one kind; another kind was not measured."""
    rows = ["clean, attacked ones", *(f"pgd {radius}" for radius in RADII)]
    seeds = [{row: {"value": value, "interval": [value - 0.1, value + 0.1]} for row in rows} for value in (0.4, 0.6)]
    (axes,) = curves.draw({"cifar": {"plain, equally right": seeds, "plain": []}}).axes
    (container,) = axes.containers
    line, _, (bars,) = container.lines
    assert container.get_label() == "plain"
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 0.5)
    for (_, low), (_, high) in bars.get_segments():  # from below to above
        np.testing.assert_allclose((low, high), (0.3, 0.7))


def test_the_figures_can_be_measured_again() -> None:
    """Few images give the same answers, up to rounding; the attack turns the one that is shown."""
    kept, again = json.loads(picture.FIGURES.read_text()), picture.measured(limit=16)
    for kind in ("clean", "attacked"):
        assert again[kind]["label"] == kept[kind]["label"]
        np.testing.assert_allclose(again[kind]["before"], kept[kind]["before"], atol=0.3)
        np.testing.assert_allclose(again[kind]["after"], kept[kind]["after"], atol=0.3)
    assert kept["clean"]["label"] != kept["attacked"]["label"]
    assert np.median(kept["attacked"]["falls"]) > np.median(kept["clean"]["falls"]) + 2
