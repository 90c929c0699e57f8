"""The page of an explanation."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from support.calibrated import fresh, guard

from ce_detect.reporting import explanation


@pytest.fixture(scope="module")
def page() -> str:
    """Of a clean and an attacked image."""
    clean, attacked = fresh()
    found = guard().explain(np.concatenate([clean[:1], attacked[:1]]))
    return explanation.html(found, artifact="guard <1>", names=["clean & plain", "attacked"], bounds=(0.0, 1.0))


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    """Well formed, escaped, without scripts or addresses; each picture has an alternative text."""
    body = page[page.index("<body>") : page.index("</body>") + len("</body>")]
    root = ElementTree.fromstring(re.sub(r"<img ([^>]*)>", r"<img \1/>", body))
    pictures = root.findall(".//img")
    assert len(pictures) == 2 * 4
    assert all(one.get("alt") and (one.get("src") or "").startswith("data:image/png;base64,") for one in pictures)
    assert "guard &lt;1&gt;" in page
    assert "clean &amp; plain" in page
    assert "<script" not in page
    assert "http" not in page


def test_the_page_says_what_carried_the_score(page: str) -> None:
    """The intervention in words, and the verdicts."""
    assert "after do(exchange left and right) the top label" in page
    assert "Flagged" in page
