"""The page of the demo, from the quick detector's figures."""

from __future__ import annotations

import functools
import json

from support import calibrated
from support.pages import Page, report

from ce_detect.reporting import demonstration
from ce_detect.reporting.demonstration import Example
from ce_detect.reporting.document import Document

UNSEEN = ("fgsm 8/255",)


@functools.cache
def document() -> Document:
    """One image as it is, changed and attacked: the pixels are what they are not called, which nobody sees here."""
    guard, (clean, attacked) = calibrated.guard(), calibrated.fresh()
    examples = [
        Example("clean", "", 7, "bag", "bag", -1.0, 0.5, False, clean[0]),
        Example("natural", "contrast 1", 7, "bag", "bag", -1.0, 0.5, False, clean[1]),
        Example("attacked", "fgsm 8/255", 7, "bag", "coat", 9.0, 0.001, True, attacked[0]),
    ]
    return demonstration.document(report(), guard.calibrated.manifest, guard.gate, examples, unseen=UNSEEN, cost=2.1)


def test_every_figure_has_a_line_that_explains_it() -> None:
    """Name, value and meaning; the unseen attack has its own."""
    lines = document().data["figures"]
    assert [line["name"] for line in lines] == [
        "clean images flagged", "changed images flagged", "attacks flagged", "fgsm 8/255 flagged",
        "accuracy of what passes", "cost",
    ]  # fmt: skip
    assert lines[-1]["value"] == "2.10"
    assert all(len(line["meaning"]) > 20 for line in lines)
    assert all(any(digit in line["value"] for digit in "0123456789") for line in lines)


def test_the_page_shows_each_image_three_times() -> None:
    """As it is, after natural change, after the attack; each with three maps."""
    page = Page(document().page())
    assert len(page.all("img")) == 3 * 4
    assert [one.text for one in page.all("h4")] == [
        "As it is: the classifier says bag", "After contrast 1: the classifier says bag",
        "After fgsm 8/255: the classifier says coat",
    ]  # fmt: skip
    assert "fgsm 8/255 (not in the calibration)" in document().page()
    assert page.all("script", "link") == []


def test_how_many_of_those_shown_are_flagged_is_said() -> None:
    """Not chosen ones, and how many of how many."""
    assert "1 of these 1 attacks are flagged" in document().data["verdict"]["details"][0]


def test_the_data_hold_no_pixels() -> None:
    """They are plain."""
    read = json.loads(json.dumps(document().data, allow_nan=False))
    assert "pixels" not in read["judged"][0]
    assert read["judged"][2]["is_adversarial"] is True
