"""What a command found: one thing, written as a page, as data, or as a model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ce_detect.core import extras
from ce_detect.core.errors import UsageError
from ce_detect.reporting.drawing import PURPOSE
from ce_detect.reporting.model_card import markdown
from ce_detect.storage import atomic

PAGE, DATA, CARD = ".html", ".json", ".md"

ENDINGS = {PAGE: "a page", DATA: "data", CARD: "a model card"}
"""What is written, by the ending of the file."""

_NEEDED = {PAGE: ("jinja2", "matplotlib"), DATA: (), CARD: ("jinja2",)}

DIGITS = 5
"""Significant digits of figures."""


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure at the top of a page: its value, its name, and what to compare it with."""

    value: str
    name: str
    note: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reader must know, at the top of a page and in its data.

    Attributes:
        state: ``"passed"``, ``"failed"``, or ``"measured"`` where nothing decides.
        label: the same in words.
        headline: one sentence.
        details: more sentences.
        figures: a handful.
    """

    state: Literal["passed", "failed", "measured"]
    label: str
    headline: str
    details: tuple[str, ...]
    figures: tuple[Headline, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What a command found.

    Attributes:
        data: plain, as ``--json`` prints it; the model card is in it.
        page: makes the HTML.
    """

    data: dict[str, Any]
    page: Callable[[], str]

    def write(self, path: Path) -> None:
        """Write a file, atomically; its ending says what, see `ENDINGS`.

        Raises:
            OSError: the file cannot be written.
        """
        content = {PAGE: self.page, DATA: self._json, CARD: self._card}
        atomic.write(path, content[path.suffix]().encode())

    def _json(self) -> str:
        return json.dumps(self.data, indent=2, allow_nan=False) + "\n"

    def _card(self) -> str:
        return markdown(self.data["model_card"])


def check(path: Path) -> None:
    """Refuse a file before the long work.

    Raises:
        UsageError: its ending names nothing that is written.
        MissingExtraError: a package that writes it is not installed.
    """
    if path.suffix not in ENDINGS:
        known = ", ".join(f"{ending} for {what}" for ending, what in ENDINGS.items())
        raise UsageError(f"{path}: the ending says what is written, and {path.suffix or 'none'!r} is none of {known}")
    for name in _NEEDED[path.suffix]:
        extras.module(name, PURPOSE)


def rounded(value: Any) -> Any:
    """Plain data with figures of `DIGITS` significant digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
