"""What the figures of a report come from: scores, and a few inputs that were flagged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Floats, Index
from ce_detect.data import Pixels

Kind = Literal["clean", "natural", "attacked"]


@dataclass(frozen=True, slots=True)
class Flagged:
    """One flagged input.

    Attributes:
        kind: ``"clean"``, ``"natural"`` (changed as cameras and codecs do) or ``"attacked"``.
        change: name of the natural change or of the attack; empty for a clean image.
        image: position of the clean image that it comes from.
        pixels: the input ``(channels, height, width)``.
        before: that clean image; None where it is the input itself.
        label: the classifier's decision on that clean image.
    """

    kind: Kind
    change: str
    image: int
    pixels: Floats
    before: Floats | None
    label: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores behind a report.

    Attributes:
        clean: ``(n,)`` of the clean images.
        p_values: ``(n,)`` of the clean images.
        natural: ``(n,)`` by name of the natural change.
        attacked: of the successful attempts alone, by name of the attack.
        flagged: some of the inputs that were flagged.
    """

    clean: Floats
    p_values: NDArray[np.float64]
    natural: Mapping[str, Floats] = field(default_factory=dict)
    attacked: Mapping[str, Floats] = field(default_factory=dict)
    flagged: tuple[Flagged, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """Images after one attack or natural change, and what they score.

    Attributes:
        kind: ``"natural"`` or ``"attacked"``.
        name: of the change.
        pixels: ``(m, channels, height, width)``.
        twins: ``(m,)`` positions of their clean images.
        score: ``(m,)``.
        counts: ``(m,)`` whether each is what its kind says: an attempt that fails is no attacked input.
    """

    kind: Kind
    name: str
    pixels: Pixels
    twins: Index
    score: Floats
    counts: NDArray[np.bool_]


def scores(
    x: Pixels,
    clean: Floats,
    label: Index,
    p_values: NDArray[np.float64],
    changed: list[Changed],
    *,
    threshold: float,
    examples: int,
) -> Scores:
    """Keep the scores of a report, and the first flagged inputs of each kind: not chosen ones.

    Of a change it takes the first image that passes as it is and is flagged after the change, one of each change.

    Args:
        x: clean images ``(n, channels, height, width)``.
        clean: ``(n,)`` their scores.
        label: ``(n,)`` what the classifier says of them.
        p_values: ``(n,)`` theirs.
        changed: the same images after changes.
        threshold: score above which an input is flagged.
        examples: flagged inputs of each kind to keep, at most.
    """
    flagged = clean > threshold
    alarms = [Flagged("clean", "", int(i), x[int(i)], None, int(label[i])) for i in np.flatnonzero(flagged)[:examples]]
    shown = [
        islice(_flagged([one for one in changed if one.kind == kind], x, ~flagged, label, threshold), examples)
        for kind in ("attacked", "natural")
    ]
    return Scores(
        clean,
        p_values,
        natural={one.name: one.score for one in changed if one.kind == "natural"},
        attacked={one.name: one.score[one.counts] for one in changed if one.kind == "attacked"},
        flagged=(*chain(*shown), *alarms),
    )


def _flagged(
    changed: list[Changed], x: Pixels, passes: NDArray[np.bool_], label: Index, threshold: float
) -> Iterator[Flagged]:
    """One flagged input of each change, each of another image."""
    shown: set[int] = set()
    for one in changed:
        caused = np.flatnonzero(one.counts & (one.score > threshold) & passes[one.twins])
        fresh = [int(place) for place in caused if int(one.twins[place]) not in shown]
        if fresh:
            image = int(one.twins[fresh[0]])
            shown.add(image)
            yield Flagged(one.kind, one.name, image, one.pixels[fresh[0]], x[image], int(label[image]))
