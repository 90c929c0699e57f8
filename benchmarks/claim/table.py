"""Tables of the claim page: what holds by family, which way effects go, and what probabilities would have shown."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.claim.findings import Cell, findings
from benchmarks.claim.interventions import (
    CONFIDENCE,
    DISPERSION,
    DISPERSION_OF_FALL,
    FALL,
    FAMILIES,
    MEASURED,
    WITHOUT,
)

TARGET = MEASURED[0]

MIRROR, MASKS = "Flip(scale=1.0)", "GridMask(cells=4)"
"""The intervention that tells most, and the one that is nearest to the paper's."""


def families() -> list[list[str]]:
    """Each family: in how many comparisons something differs, and in how many the claim holds."""
    rows = [
        ["family", "comparisons", "attacked differ from clean", "from natural change", "from shuffled",
         "clearly from all three, to one side", "shuffled differ clearly from clean", "natural change differs clearly"]
    ]  # fmt: skip
    cells = [cell for cell in findings() if cell.effect in MEASURED]
    for family in (*FAMILIES, "all"):
        own = [cell for cell in cells if family in (cell.family, "all")]
        others = ("clean", "natural", "shuffled")
        shares = [[cell.differs("attacked", other) for cell in own] for other in others]
        shares += [[cell.holds for cell in own]]
        shares += [[cell.clearly(version, "clean") for cell in own] for version in ("shuffled", "natural")]
        rows.append([family, str(len(own)), *map(_share, shares)])
    return rows


def signs() -> list[list[str]]:
    """Each intervention: Cliff's delta of the target effect, least and largest over the subjects, by attack."""
    cells = [cell for cell in findings() if cell.effect == TARGET]
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    rows = [["family", "intervention", *attacks, "clearly larger / smaller"]]
    for name in dict.fromkeys(cell.intervention for cell in cells):
        own = [cell for cell in cells if cell.intervention == name]
        deltas = [[cell.delta["attacked", "clean"] for cell in own if cell.attack == attack] for attack in attacks]
        clear = [cell.delta["attacked", "clean"] > 0 for cell in own if cell.clearly("attacked", "clean")]
        row = [own[0].family, f"`{name}`", *(f"{min(some):+.2f} to {max(some):+.2f}" for some in deltas)]
        rows.append([*row, f"{sum(clear)} / {len(clear) - sum(clear)} of {len(own)}"])
    return rows


def mirror() -> list[list[str]]:
    """The target effect of mirroring, in log-odds: medians and interquartile ranges of every version."""
    rows = [
        ["subject", "attack", "images", "clean", "natural change", "shuffled", "attacked", "delta to shuffled", "p"]
    ]
    for cell in _of(MIRROR, TARGET):
        medians = [f"{cell.median[one]:.1f} ({cell.iqr[one]:.1f})" for one in cell.median]
        pair = "attacked", "shuffled"
        figures = [f"{cell.delta[pair]:+.2f}", f"{cell.p[pair]:.1g}"]
        rows.append([cell.subject, cell.attack, str(cell.images), *medians, *figures])
    return rows


def probabilities() -> list[list[str]]:
    """Masks: delta of attacked to clean images in log-odds and in probabilities, beside that of the confidence."""
    rows = [
        ["subject", "attack", "log-odds of the decision", "target effect", "the same in probabilities",
         "dispersion over the masks", "the same in probabilities"]
    ]  # fmt: skip
    columns = [_of(WITHOUT, CONFIDENCE), *(_of(MASKS, one) for one in (TARGET, FALL, DISPERSION, DISPERSION_OF_FALL))]
    for cells in zip(*columns, strict=True):
        deltas = [_marked(cell) for cell in cells]
        rows.append([cells[0].subject, cells[0].attack, *deltas])
    return rows


def _of(intervention: str, effect: str) -> list[Cell]:
    return [cell for cell in findings() if (cell.intervention, cell.effect) == (intervention, effect)]


def _marked(cell: Cell) -> str:
    """Delta of attacked to clean images; in brackets where it may be none."""
    delta = f"{cell.delta['attacked', 'clean']:+.2f}"
    return delta if cell.differs("attacked", "clean") else f"({delta})"


def _share(found: Iterable[bool]) -> str:
    known = list(found)
    return f"{100 * sum(known) / len(known):.0f}%"


TABLES = {
    "claim": families,
    "claim-signs": signs,
    "claim-mirror": mirror,
    "claim-probabilities": probabilities,
}
