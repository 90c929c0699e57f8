"""What is in a page, and the reports whose pages are looked at."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np

from ce_detect.attacks import Attack
from ce_detect.data import load_data
from ce_detect.data.corruptions import MILD
from ce_detect.evaluate.report import Report
from ce_detect.reporting import evaluation, explanation, red_team_card
from ce_detect.reporting.document import Document
from support import calibrated
from support.targets import on_the_gate

EMPTY = {"meta", "img", "br", "link", "path", "use", "image"}
"""Elements that need no end."""


@dataclass
class Element:
    """An element with what it stands in."""

    tag: str
    attributes: dict[str, str | None]
    inside: list[str]
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All words in it."""
        return " ".join(" ".join(self.words).split())


class Page(HTMLParser):
    """The elements of a page; fails where one is not closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        made = Element(tag, dict(attrs), [one.tag for one in self.open])
        self.elements.append(made)
        if tag not in EMPTY:
            self.open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element that is closed at once."""
        self.elements.append(Element(tag, dict(attrs), [one.tag for one in self.open]))

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        if tag not in EMPTY:
            assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Add words to all that is open."""
        for one in self.open:
            one.words.append(data)

    def all(self, *tags: str) -> list[Element]:
        """Elements of some tags, in their order."""
        return [one for one in self.elements if one.tag in tags]


@functools.cache
def report(examples: int = 1) -> Report:
    """Figures of the quick detector on images that it has not seen."""
    pgd = Attack.of(**calibrated.PGD)
    return calibrated.guard().evaluate(
        load_data("demo").subset(slice(300, 400)), attacks=(pgd, Attack.of("fgsm")), corruptions=MILD[:4],
        examples=examples, cache=calibrated.cache(), jobs=1,
    )  # fmt: skip


@functools.cache
def evaluated() -> Document:
    """The report of that evaluation."""
    guard = calibrated.guard()
    return evaluation.document(
        report(), guard.calibrated.manifest, guard.gate, artifact="a/guard <1>.safetensors", data="b/fresh.npz", seed=1
    )


@functools.cache
def explained() -> Document:
    """The report of an explanation of a clean and an attacked image, with another method and with concepts."""
    guard, (clean, attacked) = calibrated.guard(), calibrated.fresh()
    found = guard.explain(
        np.concatenate([clean[:1], attacked[:1]]),
        method=("grad-cam", "integrated-gradients"),
        concepts=clean[:64],
        attack=2 / 255,
    )
    return explanation.document(
        found, guard.calibrated.manifest, artifact="a/guard <1>.safetensors", names=["clean & plain", "attacked"],
        bounds=(0.0, 1.0),
    )  # fmt: skip


@functools.cache
def red_teamed() -> Document:
    """The report card of a red team."""
    manifest = calibrated.guard().calibrated.manifest
    return red_team_card.document(on_the_gate(), manifest, artifact="a/guard <1>.safetensors", bar=1.5)


PAGES = {"evaluate": evaluated, "explain": explained, "redteam": red_teamed}
"""Each report by its command."""


@functools.cache
def source(command: str) -> str:
    """The page of a command."""
    return PAGES[command]().page()
