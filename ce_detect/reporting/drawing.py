"""Matplotlib figures as SVG elements that a page takes in: its colours and its font, the same bytes each time."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ce_detect.core import extras
from ce_detect.core.types import Bounds

WIDTH = 302.0
"""Of a plot in points: about as wide as a phone, so that words are as large there as they are drawn."""

COLOURS = {
    "ink": "#000001", "note": "#000002", "line": "#000003", "clean": "#000004", "natural": "#000005",
    "attacked": "#000006",
}  # fmt: skip
"""What a plot is drawn in, by name of the page's CSS variable that takes its place: one plot for light and dark."""

PURPOSE = "A report as HTML"

_STYLE = {
    "svg.hashsalt": "ce-detect",  # the same plot gives the same bytes
    "svg.fonttype": "none",  # words stay words
    "text.parse_math": False,  # names of attacks are no formulas
    "path.simplify": False,  # every point is there
    "font.size": 10,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["note"],
    "axes.labelcolor": COLOURS["note"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": COLOURS["line"],
    "xtick.color": COLOURS["note"],
    "ytick.color": COLOURS["note"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot for a page, with its numbers.

    Attributes:
        name: what ids in it begin with.
        title: in a few words.
        caption: how to read it.
        alt: what is to be seen, for those who do not see it.
        svg: the element.
        head: of the table of its numbers.
        rows: of that table.
    """

    name: str
    title: str
    caption: str
    alt: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(repr=False)
    svg: str = field(default="", repr=False)


@contextmanager
def axes(height: float, **settings: Any) -> Iterator[Any]:
    """Matplotlib axes in the page's style, `WIDTH` wide; `svg` makes an element of them.

    Args:
        height: in points.
        settings: of the axes, such as ``xlabel``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with extras.needed_for(PURPOSE):
        from matplotlib import style
        from matplotlib.figure import Figure

    with style.context(["default", _STYLE]):
        made = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained").add_subplot(**settings)
        made.spines[["top", "right"]].set_visible(False)
        made.set_axisbelow(True)
        yield made


def percentages(axis: Any, places: list[float] | None, limits: Bounds) -> None:
    """Label an axis of shares as percentages, at ``places`` or, where that is None, where Matplotlib would."""
    axis.axes.set(**{f"{axis.axis_name}lim": limits})
    if places is None:
        places = [float(place) for place in axis.get_ticklocs() if limits[0] <= place <= limits[1]]
    axis.set_ticks(places, [f"{100 * place:g} %" for place in places])
    axis.set_tick_params(which="both", length=0)
    axis.axes.set(**{f"{axis.axis_name}lim": limits})
    axis.minorticks_off()


def svg(name: str, drawn: Any, alt: str) -> str:
    """Return axes as an element that stands in a page.

    Args:
        name: what ids in it begin with, as several plots stand in one page.
        drawn: the axes.
        alt: what is to be seen.
    """
    buffer = io.StringIO()
    drawn.figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    header, _, inside = buffer.getvalue().partition("<svg")[2].partition(">")
    inside = re.sub(r"<style.*?</style>", "", inside, flags=re.DOTALL)  # it would hold for the whole page
    inside = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", inside).replace("xlink:href", "href")
    for variable, colour in COLOURS.items():
        inside = inside.replace(colour, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', header)
    assert box is not None
    return f'<svg {box[0]} role="img" aria-label="{html.escape(alt)}">{inside}'
