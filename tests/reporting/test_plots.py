"""Plots, held against what they are drawn from."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.manifests import manifest
from support.reports import report
from support.targets import on_the_gate

from ce_detect.evaluate.curves import curves, rate
from ce_detect.evaluate.report import without_nan
from ce_detect.reporting import plots
from ce_detect.reporting.drawing import WIDTH, Plot

GENERATOR = np.random.default_rng(0)

SHOWN: dict[str, Any] = without_nan(
    asdict(
        curves(
            report(
                clean=GENERATOR.normal(size=400),
                natural={"jpeg 1": GENERATOR.normal(0.2, size=400)},
                attacked={"pgd": GENERATOR.normal(3, size=300), "cw": GENERATOR.normal(2, size=50)},
                threshold=1.5,
            )
        )
    )
)
"""Curves of scores that are drawn from three normal distributions."""


def drawn(plot: Plot) -> ElementTree.Element:
    """The plot as a tree; fails where it is not well formed."""
    return ElementTree.fromstring(plot.svg)


def group(plot: Plot, name: str) -> ElementTree.Element:
    """What was drawn under a name."""
    (found,) = (one for one in drawn(plot).iter("g") if one.get("id") == f"{plot.name}-{name}")
    return found


def line(plot: Plot, name: str) -> list[tuple[float, float]]:
    """Corners of a line, in points from the upper left."""
    path = group(plot, name).find("path")
    assert path is not None
    return [tuple(map(float, pair.split())) for pair in re.split("[MLz]", path.get("d", ""))[1:]]  # type: ignore[misc]


def dot(plot: Plot, name: str) -> tuple[float, float]:
    """Where a dot is."""
    (mark,) = group(plot, name).iter("use")
    return float(mark.get("x", "nan")), float(mark.get("y", "nan"))


def test_the_threshold_lies_on_the_roc_where_it_should() -> None:
    """On the line of the mean, at the corner that is its own; corners rise as the rates do."""
    plot, roc = plots.roc(SHOWN["roc"], 1.5), SHOWN["roc"]
    there = [place for place, share in enumerate(roc["false_positive_rate"]) if share > 0]
    corners = line(plot, "mean")[-len(there) :]  # no false alarm has no place on a logarithmic axis
    at = corners[there.index(roc["chosen"])]
    assert dot(plot, "threshold") == pytest.approx(at, abs=1e-4)
    (_, bottom), (_, top) = corners[0], corners[-1]
    heights = np.array([bottom - y for _, y in corners]) / (bottom - top)
    means = np.array(roc["mean"])[there]
    np.testing.assert_allclose(heights, (means - means[0]) / (means[-1] - means[0]), atol=1e-5)
    assert f"{100 * roc['false_positive_rate'][roc['chosen']]:.1f} % of clean images" in plot.alt


def test_intervals_are_as_long_as_the_figures_say() -> None:
    """Each line spans its interval on the axis from 0 to 1, each dot is the share, each row has its place."""
    found = {name: asdict(rate(np.arange(20) < hits)) for name, hits in {"a": 0, "b": 7, "c": 20}.items()}
    plot = plots.rates("some", "Some", "Caption.", found, kind="attacked", head="attack")
    zero, one = dot(plot, "value-0")[0], dot(plot, "value-2")[0]
    for place, figures in enumerate(found.values()):
        (left, y), (right, same) = line(plot, f"interval-{place}")
        assert [(x - zero) / (one - zero) for x in (left, right)] == pytest.approx(
            [figures["low"], figures["high"]], abs=1e-5
        )
        assert y == same == dot(plot, f"value-{place}")[1]
    assert (dot(plot, "value-1")[0] - zero) / (one - zero) == pytest.approx(0.35, abs=1e-5)
    assert plot.rows[1] == ("b", "35.0 %", "18.1 % to 56.7 %", "20")


def test_the_promised_rate_is_marked() -> None:
    """Where it lies between the dots, and no interval leaves the axis."""
    found = {"a": asdict(rate(np.arange(100) < 0)), "b": asdict(rate(np.arange(100) < 20))}
    plot = plots.rates("some", "Some", "Caption.", found, kind="natural", head="change", promised=0.05)
    zero, fifth = dot(plot, "value-0")[0], dot(plot, "value-1")[0]
    assert (line(plot, "promised")[0][0] - zero) / (fifth - zero) == pytest.approx(0.25, abs=1e-5)
    assert line(plot, "interval-1")[1][0] <= WIDTH


def test_an_attack_without_a_rate_has_no_row() -> None:
    """It never succeeded."""
    found = without_nan({"a": asdict(rate([])), "b": asdict(rate([True]))})
    plot = plots.rates("x", "X", "C.", found, kind="clean", head="attack")
    assert plot is not None
    assert [row[0] for row in plot.rows] == ["b"]
    assert plots.rates("x", "X", "C.", {"a": found["a"]}, kind="clean", head="attack") is None


def test_the_histogram_has_its_counts_and_the_threshold() -> None:
    """Bars are as high as the counts; the threshold is where it lies between the edges."""
    plot, found = plots.histogram(SHOWN["histogram"], 1.5), SHOWN["histogram"]
    corners = line(plot, "attacked")
    bottom, tops = corners[0][1], np.array([y for _, y in corners[1:-1:2]])
    shares = np.array(found["attacked"]) / max(found["attacked"])
    np.testing.assert_allclose((bottom - tops) / (bottom - tops.min()), shares, atol=1e-4)
    left, right = corners[0][0], corners[-1][0]
    part = (1.5 - found["edges"][0]) / (found["edges"][-1] - found["edges"][0])
    assert (line(plot, "threshold")[0][0] - left) / (right - left) == pytest.approx(part, abs=1e-4)
    assert [row[4] for row in plot.rows] == [str(count) for count in found["attacked"]]


def test_right_p_values_lie_on_the_line() -> None:
    """Clean p-values that are uniform are drawn along the dashed line."""
    made = report(clean=np.zeros(400), threshold=1.0)
    uniform = replace(made, scores=replace(made.scores, p_values=np.arange(1, 401) / 400))
    plot = plots.calibration(asdict(curves(uniform).calibration), 0.1)
    (left, bottom), (right, top) = line(plot, "should")
    for x, y in line(plot, "measured"):
        assert (bottom - y) / (bottom - top) == pytest.approx((x - left) / (right - left), abs=1e-4)
    assert re.match(r"A p-value of at most (\S+) % is had by \1 % of clean images", plot.alt)


def test_cost_is_drawn_beside_the_model_and_the_budget() -> None:
    """Where it was measured: in PyTorch, and in batches in ONNX Runtime by their size."""
    figures = {"cost": 1.5, "served_cost": {"32": 1.25, "8": 2.0}, "test": None, "hardening": []}
    plot = plots.cost(manifest(budget=3.0, figures=figures))
    assert plot.rows == [("PyTorch", "1.50"), ("ONNX Runtime, batch 8", "2.00"), ("ONNX Runtime, batch 32", "1.25")]
    zero = min(float(pair.split()[0]) for pair in re.findall(r"[ML] ([\d. ]+)", plot.svg) if pair)
    assert zero < line(plot, "alone")[0][0]
    assert "budget" in plot.svg
    assert "budget" not in plots.cost(manifest()).svg


def test_both_curves_of_a_red_team_are_drawn_as_they_are() -> None:
    """A curve to half of the images climbs half as high."""
    plain = on_the_gate().to_dict()
    rising = np.linspace(0, 1, len(plain["levels"])).tolist()
    plot = plots.radii({**plain, "fooled": rising, "evaded": [share / 2 for share in rising]})
    climbs = {}
    for name in ("fooled", "evaded"):
        first, *_, last = line(plot, name)
        assert first[0] < last[0]
        climbs[name] = first[1] - last[1]
    assert climbs["fooled"] > 80
    assert climbs["evaded"] == pytest.approx(climbs["fooled"] / 2)


def test_names_are_words_and_not_formulas() -> None:
    """What Matplotlib or HTML would take for more is drawn as it is; a long one is cut, but not in the table."""
    long = "mine.py:$x^2$ <b> & so on and on and on"
    plot = plots.rates("x", "X", "C.", {long: asdict(rate([True]))}, kind="clean", head="attack")
    (shown,) = [one.text for one in drawn(plot).iter("text") if one.text and "mine" in one.text]
    assert shown == "mine.py:$x^2$ <b> & so on…"
    assert plot.rows[0][0] == long
    assert f"X: {long} 100.0 %" == drawn(plot).get("aria-label")
