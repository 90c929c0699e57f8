"""The report card of a red team."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.calibrated import guard
from support.pages import Page, red_teamed, source
from support.targets import on_the_gate

from ce_detect.redteam.interval import Interval
from ce_detect.reporting import red_team_card
from ce_detect.reporting.document import Document
from ce_detect.reporting.words import percent, under_attack_rows


def card(bar: float | None = None, **changes: Any) -> Document:
    """A report card of the calibrated gate."""
    manifest = guard().calibrated.manifest
    return red_team_card.document(replace(on_the_gate(), **changes), manifest, artifact="guard", bar=bar)


def test_bar_decides() -> None:
    """The card passes at a bar that the ratio reaches, and fails above it."""
    ratio = on_the_gate().ratio.value
    checks = {"checks": ()}
    assert card(bar=ratio * 0.99, **checks).data["passed"]
    assert not card(bar=ratio * 1.01, **checks).data["passed"]
    assert card(**checks).data["passed"]


def test_failed_check_fails_the_card() -> None:
    """A ratio from an attack that does not work is worth nothing, however large."""
    failed = replace(on_the_gate().checks[0], passed=False)
    found = card(bar=0.1, checks=(failed,)).data
    assert not found["passed"]
    assert "A check of the attack failed, so its figures may flatter the detector." in found["verdict"]["details"]


def test_the_verdict_says_which_way_it_went() -> None:
    """In words, with the ratio."""
    assert card(bar=0.1, checks=()).data["verdict"]["label"] == "Passed"
    assert card(checks=()).data["verdict"]["label"] == "Measured"
    failed = card(bar=1000, ratio_is_bound=True).data["verdict"]
    assert failed["label"] == "Failed"
    assert "at least" in failed["headline"]


def test_it_says_that_a_ratio_is_censored() -> None:
    """Beside the ratio, with the reason, and nowhere else."""
    assert "censored" not in card(censored=0.0).page().partition("<pre")[0]
    found = card(censored=0.4)
    assert any("The ratio is censored" in one for one in found.data["verdict"]["details"])
    page = " ".join(found.page().split())
    assert "<strong>censored</strong>: 0.4 of the images fool the classifier alone at the smallest bound" in page


def test_sizes_stand_in_three_units() -> None:
    """In parts of the range, in 1/255 of it, and in the model's own pixels, whatever these are."""
    made = card(radius_joint=Interval(0.004, 0.003, 0.005))
    made.data["model"]["bounds"] = [-2.0, 3.0]
    page = made.page()
    assert "in pixels from -2.0 to 3.0" in page
    assert all(f">{size}</td>" in page for size in ("0.004 (0.003 to 0.005)", "1.02", "0.02"))


def test_each_attack_has_an_interval() -> None:
    """Of the share of images with which it gets through."""
    report = on_the_gate()
    for name, share in report.by_attack.items():
        found = red_teamed().data["by_attack"][name]
        assert found["value"] == pytest.approx(share)
        assert found["low"] <= share <= found["high"]
        assert found["n"] == report.images
    assert "Each attack on its own" in [one.text for one in Page(source("redteam")).all("h3")]


def test_the_lowest_scores_have_a_table() -> None:
    """A line a bound, with AUROC and its interval; a figure that does not exist is shown as such."""
    (found,) = on_the_gate().under_attack
    page = Page(source("redteam"))
    assert "Lowest scores" in [one.text for one in page.all("h2")]
    assert found.auroc is not None
    assert f">{found.auroc.value:.3f} ({found.auroc.low:.3f} to {found.auroc.high:.3f})</td>" in source("redteam")
    none = card(under_attack=(replace(found, auroc=None, flagged=None, fooled=0.0),))
    assert under_attack_rows(none.data["report"]) == [("8/255", "-", "0.0 %", "-", percent(found.implied))]
    saved = card(under_attack=(replace(found, then="jpeg 2"),))
    assert under_attack_rows(saved.data["report"])[0][0] == "8/255, then jpeg 2"


def test_what_there_is_not_has_no_section() -> None:
    """Checks, attacks, or inputs that got through; the page has the others."""
    page = Page(card(checks=(), by_attack={}, examples=(), under_attack=()).page())
    assert [one.text for one in page.all("h2")] == ["Perturbations", "Threat model", "Model card", "All numbers"]


def test_what_got_through_is_shown_before_and_after() -> None:
    """With both scores and the difference; in the data without pixels."""
    page, report = Page(source("redteam")), on_the_gate()
    first = report.examples[0]
    assert [one.attributes["alt"] for one in page.all("img")][:3] == [
        f"image {first.image} before the attack", f"image {first.image} as it got through",
        f"What the attack changed in image {first.image}",
    ]  # fmt: skip
    assert len(page.all("img")) == 3 * len(report.examples) > 0
    captions = [one.text for one in page.all("figcaption")]
    assert f"got through: score {first.score:.2f}" in captions
    assert f"before: score {first.score_before:.2f}" in captions
    data = red_teamed().data["past_the_gate"]
    assert [(one["image"], one["label"]) for one in data] == [(one.image, one.label) for one in report.examples]
    assert set(data[0]) == {"image", "radius", "label_before", "label", "score_before", "score"}
    assert card(examples=()).data["past_the_gate"] == []


def test_the_difference_is_shown_as_strong_as_it_says() -> None:
    """In parts of the range, whatever the model's own pixels are."""
    (first, *_), (low, high) = on_the_gate().examples, guard().classifier.bounds
    largest = abs(first.pixels - first.before).max() / (high - low)
    assert f"the difference, {0.5 / largest:.3g} times as strong" in source("redteam")
