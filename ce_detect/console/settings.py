"""What the console is given: where things lie, what can explain and attack, and who may look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ce_detect.console.access import Access
from ce_detect.console.neighbours import Neighbours
from ce_detect.core.types import Bounds, Floats
from ce_detect.records.settings import MEBIBYTE
from ce_detect.runtime import Gate


@dataclass(frozen=True, slots=True)
class Explained:
    """Why an input was judged as it was.

    Attributes:
        maps: caption and map ``(height, width)``: larger = counts more.
        words: what carried the score, the largest share first.
    """

    maps: dict[str, Floats]
    words: list[str]


Explainer = Callable[[Floats], Explained]
"""Explains one input ``(channels, height, width)`` within [0, 1]."""

Attacker = Callable[[Floats, float], Floats]
"""Attacks one such input, by at most so much of [0, 1] a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """Everything about a console but its store and its address.

    Attributes:
        quarantine: folder with the pictures; None where there are none.
        audit: audit log whose lines are taken in, too.
        gate: judges what is tried; None where nothing can be.
        explainer: makes maps; None where there is no model.
        attacker: attacks what is tried; None where noise must do.
        clean: clean images among which neighbours are looked for.
        access: who may look.
        hosts: names that a browser may call the console by.
        secure: whether it is reached by https alone, so that cookies are sent by https alone.
        bounds: smallest and largest pixel value of inputs in floats; None where these must tell.
        upload: bytes of an image to try.
        pixels: of it.
    """

    quarantine: Path | None = None
    audit: Path | None = None
    gate: Gate | None = None
    explainer: Explainer | None = None
    attacker: Attacker | None = None
    clean: Neighbours | None = None
    access: Access = field(default_factory=Access)
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    secure: bool = False
    bounds: Bounds | None = None
    upload: int = 8 * MEBIBYTE
    pixels: int = 1 << 24
