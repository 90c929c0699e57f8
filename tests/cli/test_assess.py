"""``ce-detect assess``: what it prints and writes, and a model that can only be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import call
from support.pages import Page

from ce_detect.reporting import assessment as page


def test_a_model_is_assessed(tmp_path: Path) -> None:
    """In tables, as a page and as data, in the words of ATLAS and NIST; few images give no gate, and it is said why."""
    out = [tmp_path / "found.html", tmp_path / "found.json"]
    given = ("--model", "demo", "--data", "demo", "--limit", 40, "--attack", "fgsm", "--cache", tmp_path)
    done = call("assess", *given, "--out", out[0], "--out", out[1])
    assert done.code == 0, done.err
    assert "fgsm 8/255 fools the model on" in done.out
    assert "AML.T0043.000 White-Box Optimization" in done.out
    assert "No gate could be made" in done.out
    found = json.loads(out[1].read_text())
    assert found["fooled"]["fgsm 8/255"]["nist"] == "evasion attack, white-box"
    assert found["model"]["accuracy"] > 0.7
    assert found["gate"] is None
    shown = Page(out[0].read_text())
    assert [one.text for one in shown.all("h1")] == ["Assessment of demo"]
    assert "Adversarial Input Detection" in out[0].read_text()


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ({"a 1/255": 0.1, "a 4/255": 0.6, "a 8/255": 1.0, "smallest": 1.0}, "a 4/255"),
        ({"a 1/255": 0.0, "a 8/255": 0.2, "smallest": 0.3}, "smallest"),
    ],
)
def test_the_headline_names_the_least_that_does(shares: dict[str, float], named: str) -> None:
    """The smallest bound with which half of the images fool the model; else the strongest attack."""
    found = {name: {"eps": name.partition(" ")[2] or None, "fresh": share} for name, share in shares.items()}
    assert page.easiest(found) == named
