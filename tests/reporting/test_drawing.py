"""Figures as elements of a page."""

from __future__ import annotations

import re
import sys

import pytest

from ce_detect.core.errors import MissingExtraError
from ce_detect.reporting.drawing import COLOURS, axes, percentages, svg


def made(name: str = "one", alt: str = "A line.") -> str:
    """A line with a dot and words."""
    with axes(100, xlabel="a & b") as drawn:
        drawn.plot([0, 1], [0, 1], "o-", color=COLOURS["clean"], gid="line")
        percentages(drawn.yaxis, None, (0.0, 0.2))
        return svg(name, drawn, alt)


def test_the_page_gives_the_colours() -> None:
    """No colour is drawn into it, so that one plot does for light and dark."""
    assert "var(--clean)" in made()
    assert "var(--ink)" in made()
    assert re.findall(r"#[0-9a-f]{6}\b", made()) == []
    assert "<style" not in made()


def test_two_plots_of_a_page_share_no_name() -> None:
    """Names inside begin with that of the plot, and what refers to them does, too."""
    one, other = (set(re.findall(r'\bid="([^"]+)"', made(name))) for name in ("one", "two"))
    assert one
    assert not one & other
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', made())) <= one


def test_the_same_plot_gives_the_same_bytes() -> None:
    """No date, no random name."""
    assert made() == made()
    assert "<metadata" not in made()


def test_it_says_what_is_to_be_seen() -> None:
    """Escaped; and words on it stay words."""
    assert 'role="img" aria-label="&lt;A&gt; &quot;line&quot;"' in made(alt='<A> "line"')
    assert ">a &amp; b</text>" in made()
    assert ">20 %</text>" in made()


def test_an_absent_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib comes with the extra `report`."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"matplotlib.*ce-detect\[report\]"):
        made()
