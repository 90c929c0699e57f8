"""The one table of the README: the gate beside the three best detectors from the literature.

Images, attacks and natural changes are the same in every column; slow detectors judged the first ones of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.adaptive.table import RESULT as ADAPTIVE
from benchmarks.detection.table import RESULTS as DETECTION
from benchmarks.natural.gates import RESULTS as NATURAL
from benchmarks.peers.table import FOLDER
from benchmarks.program import read
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Recipe

SUBJECT = "cifar10-resnet20"
OURS = "ours-2"
BEST = 3
"""Peers that are shown: the best by mean AUROC over all attacks."""

ROWS = (
    "AUROC, attacks that calibration used",
    "AUROC, other attacks",
    "AUROC, the attack it finds worst",
    "Clean images flagged after natural change",
    "Time, where the model alone takes 1",
    "Larger change that an attacker needs who knows it",
)


def overview() -> list[list[str]]:
    """Six figures: of our gate at budget 2.0, today and beside the peers, and of the best of these."""
    found = {path.stem: read(path) for path in (FOLDER / SUBJECT).glob("*.json")}
    ranked = sorted((name for name in found if is_peer(name)), key=lambda name: -_area(found[name], "all"))
    radii = read(ADAPTIVE)["rows"]
    ours = _today(found[OURS], radii["unhardened"]), _beside(found[OURS], radii["before"])
    columns = [ROWS, *ours, *(_beside(found[name], radii.get(name)) for name in ranked[:BEST])]
    titles = ["", "**ce-detect**", "the same before", *(_title(found[name]) for name in ranked[:BEST])]
    return [titles, *(list(row) for row in zip(*columns, strict=True))]


def _today(before: Mapping[str, Any], radius: Mapping[str, Any]) -> list[str]:
    """The present recipe, which no peer was measured beside: on the attacks and natural changes that they met."""
    (budget,) = (one for one in read(DETECTION / f"detection-{SUBJECT}.json")["budgets"] if one["budget"] == 2)
    found, kinds = budget["report"]["attacks"], read(NATURAL / f"natural-{SUBJECT}.json")["rows"][0]["kinds"]
    areas = {name: found[name]["auroc_successes"] for name in before["attacks"]}
    known = {attack.name for attack in Recipe.load(SUBJECTS[SUBJECT].recipe).attacks}
    seen, unseen = ([area for name, area in areas.items() if (name in known) == asked] for asked in (True, False))
    flagged = fmean(kinds[name]["flagged"] for name in before["corruptions"])
    cost = budget["summary"]["cost"]
    return [*_areas([fmean(seen), fmean(unseen), min(areas.values())]), f"{flagged:.0%}", f"{cost:.2f}", _times(radius)]


def _beside(found: Mapping[str, Any], radius: Mapping[str, Any] | None) -> list[str]:
    changed = found["summary"]["false_positive_rate_under_corruption"]
    ratio = _times(radius) if radius else "not measured"
    areas = (_area(found, key) for key in ("seen", "unseen", "worst"))
    return [*_areas(areas), f"{changed:.0%}", f"{found['cost']:.2f}", ratio]


def _times(radius: Mapping[str, Any]) -> str:
    return f"{radius['ratio']['value']:.2f} times"


def _areas(areas: Any) -> list[str]:
    return [f"{area:.3f}" for area in areas]


def _title(found: Mapping[str, Any]) -> str:
    return str(found["title"]).partition(" (")[0]


def is_peer(name: str) -> bool:
    return not name.startswith(("ours-", "clean-only-"))


def _area(found: Mapping[str, Any], key: str) -> float:
    return float(found.get("summary", {}).get(f"auroc_{key}", 0))


TABLES = {"readme": overview}
