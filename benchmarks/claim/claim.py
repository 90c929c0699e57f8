"""Causal effects of attacked images beside those of the same images clean, naturally changed, and shuffled.

    CE_DETECT_DATA=... python -m benchmarks.claim.claim
    CE_DETECT_DATA=... python -m benchmarks.claim.claim --only fashion pneumonia

Every version of an image meets the same interventions, fixed beforehand, and each is measured against its own decision.
An attack counts where it still fools after it was stored in 8 bits. Versions of one image are compared with each other:
Cliff's delta says how large a difference is, and Wilcoxon's signed-rank test on the pairs whether it is one. p-values
are stored as they are; `findings` corrects them for the tests of all subjects. Writes ``results/claim-<subject>.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.claim.interventions import Instrument, Measured
from benchmarks.claim.versions import Versions, versions
from benchmarks.face import Floats, auroc
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write
from benchmarks.subjects.subjects import SUBJECTS, Subject

RESULTS = Path(__file__).parent / "results"
ASKED = ("cifar10-resnet20", "fashion", "pneumonia", "imagenet-lite0")

IMAGES = {"imagenet-lite0": 32}
"""Images of a subject, where they are not `MANY`."""

MANY = 192

LEAST = 20
"""Images that an attack must fool, below which nothing is said of it."""

VERSIONS = ("clean", "natural", "shuffled", "attacked")
"""In the order of medians and interquartile ranges in the results."""

COMPARISONS = (
    ("attacked", "clean"),
    ("attacked", "natural"),
    ("attacked", "shuffled"),
    ("shuffled", "clean"),
    ("natural", "clean"),
)
"""In the order of deltas and p-values there; a positive delta says that the first is larger."""


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--only", choices=ASKED, nargs="+", default=list(ASKED))
    asked.add_argument("--jobs", type=int, help="processes that attack (default: one a core)")
    options = asked.parse_args()
    quiet()
    for name in options.only:
        outcome = measured(SUBJECTS[name], IMAGES.get(name, MANY), options.jobs)
        write(RESULTS / f"claim-{name}.json", {"subject": name, "environment": environment(), **outcome})


def measured(subject: Subject, count: int, jobs: int | None) -> dict[str, Any]:
    """Everything measured of one subject."""
    first, fresh = subject.split()
    guard = subject.guard(first.pixels.shape[1:])
    made = versions(subject, guard, fresh, count, jobs)
    instrument = Instrument(guard.classifier, first)
    decisions, clean = instrument(made.clean)
    natural_decisions, natural = instrument(made.natural)
    attacks = {}
    for place, name in enumerate(made.attacked):
        progress(f"{subject.name}, effects under {name}", place, len(made.attacked))
        attacks[name] = against(instrument, made, name, decisions, {"clean": clean, "natural": natural})
    changed = round(float((natural_decisions != decisions).mean()), 4)
    return {"images": len(made.clean), "natural_change_moves_the_decision": changed, "attacks": attacks}


def against(
    instrument: Instrument, made: Versions, name: str, decisions: Any, known: dict[str, list[Measured]]
) -> dict[str, Any]:
    """One attack, where it fools, beside the other versions of the same images."""
    labels, attacked = instrument(made.attacked[name])
    shuffled_labels, shuffled = instrument(made.shuffled[name])
    fooled = labels != decisions
    found: dict[str, Any] = {
        "fooled": int(fooled.sum()),
        "shuffled_moves_the_decision": round(float((shuffled_labels != decisions).mean()), 4),
    }
    if fooled.sum() < LEAST:
        return found
    by_version = {**known, "attacked": attacked, "shuffled": shuffled}
    cells = {}
    for place, one in enumerate(attacked):
        cells[one.name] = {"family": one.family, "effects": {}}
        for effect in one.values:
            values = {version: of[place].values[effect][fooled] for version, of in by_version.items()}
            cells[one.name]["effects"][effect] = compared(values)
    return {**found, "interventions": cells}


def compared(values: dict[str, Floats]) -> dict[str, list[float]]:
    """Median and interquartile range of each version, delta and p-value of each comparison.

    Args:
        values: ``(n,)`` of each version, of the same images in the same order.
    """
    quartiles = [np.quantile(values[version], (0.25, 0.5, 0.75)) for version in VERSIONS]
    pairs = [(values[one], values[other]) for one, other in COMPARISONS]
    return {
        "median": [short(middle) for _, middle, _ in quartiles],
        "iqr": [short(upper - lower) for lower, _, upper in quartiles],
        "delta": [round(cliffs_delta(*pair), 3) for pair in pairs],
        "p": [short(p_value(*pair), 2) for pair in pairs],
    }


def cliffs_delta(one: Floats, other: Floats) -> float:
    """Chance that a value of ``one`` is larger than one of ``other``, less that it is smaller; in [-1, 1]."""
    return 2 * auroc(other, one) - 1


def p_value(one: Floats, other: Floats) -> float:
    """Of Wilcoxon's signed-rank test on pairs, two-sided; 1 where all pairs are equal."""
    difference = one.astype(np.float64) - other
    return float(wilcoxon(difference, zero_method="pratt", method="asymptotic").pvalue) if difference.any() else 1.0


def short(value: Any, digits: int = 3) -> float:
    """So many digits that count."""
    return float(f"{float(value):.{digits}g}")


if __name__ == "__main__":
    main()
