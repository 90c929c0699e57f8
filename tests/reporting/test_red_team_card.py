"""The report card of a red team."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.calibrated import guard
from support.targets import on_the_gate

from ce_detect.core.errors import MissingExtraError
from ce_detect.redteam.red_team import Interval
from ce_detect.reporting import red_team_card as cards


def card(bar: float | None = None, **changes: Any) -> dict[str, Any]:
    """A report card of the calibrated gate."""
    return cards.card(replace(on_the_gate(), **changes), guard().manifest, artifact="guard <1>", bar=bar)


def test_bar_decides() -> None:
    """The card passes at a bar that the ratio reaches, and fails above it."""
    ratio = on_the_gate().ratio.value
    checks = {"checks": ()}
    assert card(bar=ratio * 0.99, **checks)["passed"]
    assert not card(bar=ratio * 1.01, **checks)["passed"]
    assert card(**checks)["passed"]


def test_failed_check_fails_the_card() -> None:
    """A ratio from an attack that does not work is worth nothing, however large."""
    failed = replace(on_the_gate().checks[0], passed=False)
    assert not card(bar=0.1, checks=(failed,))["passed"]


def test_page_has_no_script_and_nothing_from_elsewhere() -> None:
    """One file that executes nothing and loads nothing; names are escaped."""
    page = cards.html(card(bar=1.5))
    assert "<script" not in page
    assert not re.search(r"\b(src|href|url\()\s*=?", page)
    assert "http" not in page
    assert "guard &lt;1&gt;" in page
    assert "<svg" in page


def test_page_has_every_figure_of_the_card() -> None:
    """Whatever number is in the JSON can be read in the page."""
    made = json.loads(json.dumps(card(bar=1.5)))
    page = cards.html(made)

    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [number for inner in value.values() for number in numbers(inner)]
        if isinstance(value, list):
            return [number for inner in value for number in numbers(inner)]
        return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []

    found = numbers(made)
    assert len(found) > 100
    assert [number for number in found if str(number) not in page] == []


def test_page_says_which_way_it_went() -> None:
    """The verdict stands at the top in words."""
    assert "Passed." in cards.html(card(bar=0.1, checks=()))
    without = cards.html(card(checks=()))
    assert "Measured." in without
    assert "Passed." not in without
    failed = cards.html(card(bar=1000, ratio_is_bound=True))
    assert "Failed." in failed
    assert "at least" in failed


def test_page_says_that_a_ratio_is_censored() -> None:
    """Beside the ratio, with the reason, and nowhere else."""
    assert "censored" not in cards.html(card(censored=0.0))
    page = " ".join(cards.html(card(censored=0.4)).split())
    assert "<strong>censored</strong>: 0.4 of the images fool the classifier alone at the smallest bound" in page


def test_sizes_stand_in_three_units() -> None:
    """In parts of the range, in 1/255 of it, and in the model's own pixels, whatever these are."""
    made = card(radius_joint=Interval(0.004, 0.003, 0.005))
    made["model"]["bounds"] = [-2.0, 3.0]
    page = cards.html(made)
    assert "in pixels from -2.0 to 3.0" in page
    assert all(f">{size}</td>" in page for size in ("0.004 (0.003 to 0.005)", "1.02", "0.02"))


def test_both_curves_are_drawn_as_they_are() -> None:
    """The plot is one well-formed element with a label; a curve to half of the images climbs half as high."""
    count = len(on_the_gate().levels)
    rising = tuple(np.linspace(0, 1, count).tolist())
    made = card(fooled=rising, evaded=tuple(share / 2 for share in rising))
    page = cards.html(made)
    (svg,) = re.findall("<svg.*?</svg>", page, re.DOTALL)
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "Share of images against bound"
    climbs = {}
    for name in ("fooled", "evaded"):
        (line,) = (group.find("path") for group in root.iter("g") if group.get("id") == name)
        assert line is not None
        first, *_, last = (tuple(map(float, pair.split())) for pair in re.split("[ML]", line.get("d", ""))[1:])
        assert first[0] < last[0]
        climbs[name] = first[1] - last[1]
    assert climbs["fooled"] > 100
    assert climbs["evaded"] == pytest.approx(climbs["fooled"] / 2)
    assert cards.html(made) == page


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_an_absent_package_names_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page needs the extra `report`; the card itself does not."""
    made = card()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*ce-detect\[report\]"):
        cards.html(made)
