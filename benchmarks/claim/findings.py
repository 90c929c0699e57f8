"""What the results say once p-values are corrected for the number of tests, over all subjects together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from benchmarks.claim.claim import ASKED, COMPARISONS, RESULTS, VERSIONS
from benchmarks.program import read

LEVEL = 0.01
"""Share of differences that are found and are none, at most (Benjamini and Hochberg)."""

CLEAR = 0.33
"""Size of Cliff's delta from which a difference counts as clear: the usual limit of a medium one."""

Pair = tuple[str, str]
"""What is compared with what, as in `COMPARISONS`."""


@dataclass(frozen=True)
class Cell:
    """One effect of one intervention under one attack.

    Attributes:
        subject: data set and model.
        attack: name.
        images: that the attack fools.
        family: of the intervention.
        intervention: its name.
        effect: its name.
        median: of each version.
        iqr: interquartile range of each version.
        delta: Cliff's delta of each comparison.
        p: corrected p-value of each comparison.
    """

    subject: str
    attack: str
    images: int
    family: str
    intervention: str
    effect: str
    median: dict[str, float]
    iqr: dict[str, float]
    delta: dict[Pair, float]
    p: dict[Pair, float]

    def differs(self, *pair: str) -> bool:
        """Whether two versions differ, whatever the size of it."""
        return self.p[pair[0], pair[1]] < LEVEL

    def clearly(self, *pair: str) -> bool:
        """Whether they differ, and by a clear size."""
        return self.differs(*pair) and abs(self.delta[pair[0], pair[1]]) >= CLEAR

    @property
    def holds(self) -> bool:
        """Whether attacked images differ clearly, and to one side, from clean, natural and shuffled ones alike."""
        pairs = [("attacked", other) for other in ("clean", "natural", "shuffled")]
        return all(self.clearly(*pair) for pair in pairs) and len({self.delta[pair] > 0 for pair in pairs}) == 1


def findings() -> list[Cell]:
    """Every cell of every subject that was measured, with p-values corrected over all of them."""
    raw = list(_raw())
    adjusted = false_discovery_control(np.concatenate([cell["p"] for *_, cell in raw])).reshape(len(raw), -1)
    return [
        Cell(
            *where,
            dict(zip(VERSIONS, cell["median"], strict=True)),
            dict(zip(VERSIONS, cell["iqr"], strict=True)),
            dict(zip(COMPARISONS, cell["delta"], strict=True)),
            dict(zip(COMPARISONS, p.tolist(), strict=True)),
        )
        for (*where, cell), p in zip(raw, adjusted, strict=True)
    ]


def _raw() -> Iterator[tuple]:
    """Subject, attack, images, family, intervention, effect, and what is stored of it."""
    for subject in ASKED:
        path = RESULTS / f"claim-{subject}.json"
        for attack, row in (read(path)["attacks"] if path.exists() else {}).items():
            for intervention, done in row.get("interventions", {}).items():
                for effect, cell in done["effects"].items():
                    yield subject, attack, row["fooled"], done["family"], intervention, effect, cell
