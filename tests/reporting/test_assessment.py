"""The page of an assessment that has a gate."""

from __future__ import annotations

import functools
import json

from support import calibrated
from support.pages import Page, report

from ce_detect.evaluate.assessment import Borne, Choice, Fooled
from ce_detect.reporting import assessment
from ce_detect.reporting.document import Document

NAN = float("nan")

FOOLED = {
    "pgd 4/255": Fooled("white-box", "Linf", "4/255", 0.3, 100, 0.9, 0.7, 0.1),
    "square 8/255": Fooled("scores", "Linf", "8/255", NAN, 100, 0.0, 0.0, None),
}

CHOICES = [Choice(0.01, 0.0, 0.02, 0.8, 0.7, 0.6), Choice(0.1, 0.09, 0.1, 0.95, NAN, 0.9)]


@functools.cache
def document() -> Document:
    """Made figures, and the quick detector's own."""
    model = {"classes": 10, "input_shape": (1, 28, 28), "bounds": (0.0, 1.0), "differentiable": True, "images": 100}
    return assessment.document(
        {**model, "accuracy": None}, FOOLED, {"jpeg 1": Borne(0.02, None, 100), "gamma 1": Borne(0.1, None, 100)},
        CHOICES, report=report(), manifest=calibrated.guard().calibrated.manifest, why_not="", name="<net>",
        data="b.npz", seed=0,
    )  # fmt: skip


def test_the_data_are_plain() -> None:
    """NaN, a figure that does not exist, is null also within lists."""
    read = json.loads(json.dumps(document().data, allow_nan=False))
    assert read["fooled"]["square 8/255"]["change"] is None
    assert read["gate"]["choices"][1]["saved"] is None
    assert read["gate"]["cost"]["pytorch"] > 1
    assert read["verdict"]["headline"] == "pgd 4/255 fools the model on 90.0 % of images."
    assert "gamma 1" in str(read["verdict"]["figures"])


def test_the_page_has_a_table_for_each_question() -> None:
    """It stands alone, and its words are those of ATLAS and NIST."""
    page = Page(document().page())
    captions = [one.text for one in page.all("caption")]
    assert {"The model alone under attack", "What it would flag"} <= set(captions)
    assert "The same in the words of MITRE ATLAS and NIST AI 100-2" in captions
    assert "&lt;net&gt;" in document().page()
    assert page.all("script", "link") == []
    assert "AML.T0043.001 Black-Box Optimization" in document().page()
    assert "evasion attack, black-box, score-based" in document().page()
    ids = {one.attributes["id"] for one in page.elements if "id" in one.attributes}
    assert {one.attributes["href"] for one in page.all("a")} <= {f"#{one}" for one in ids}


def test_the_page_says_what_it_does_not_say() -> None:
    """Adaptive attackers first."""
    assert "Attackers who know the gate" in document().page()
