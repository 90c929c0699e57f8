"""The outcome of a search, and what the manifest says of everything that was considered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ce_detect.calibrate.items import Item
from ce_detect.calibrate.search.comparison import Comparison
from ce_detect.features.fakeness import Fakeness
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.shapley import ShapleyValues
from ce_detect.interventions import Intervention

DIGITS = 5
"""Digits after the point of gains and values of the objective."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The outcome of a search.

    Attributes:
        items: what was chosen, most worth its cost first.
        ledger: for the manifest: costs and gains of what was chosen and of what was considered.
    """

    items: tuple[Item, ...]
    ledger: dict[str, Any]

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Chosen interventions."""
        return tuple(item.intervention for item in self.items if item.intervention is not None)

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites where channel moments are taken."""
        return tuple(item.site for item in self.items if item.site)

    @property
    def layer_consistency(self) -> LayerConsistency | None:
        """What gives recovery errors, if that was chosen."""
        return next((item.layer_consistency for item in self.items if item.layer_consistency is not None), None)

    @property
    def shapley(self) -> ShapleyValues | None:
        """What gives Shapley values, if that was chosen."""
        return next((item.shapley for item in self.items if item.shapley is not None), None)

    @property
    def fakeness(self) -> Fakeness | None:
        """What gives fakeness, if that was chosen."""
        return next((item.fakeness for item in self.items if item.fakeness is not None), None)

    def shortened(self) -> Chosen:
        """The same without its last item."""
        kept = self.items[:-1]
        return Chosen(kept, {**self.ledger, "chosen": self.ledger["chosen"][: len(kept)]})


def considered(compared: Comparison, chosen: Chosen, *, room: float) -> list[dict[str, Any]]:
    """Cost and gain of everything, first on its own and then beside what was chosen.

    Args:
        compared: all candidates.
        chosen: what was chosen of them.
        room: what the budget leaves for items, in forward passes.

    Returns:
        Of each item its ``cost``, its ``gain`` in the objective over the free statistics alone, what it ``adds`` to all
        others that were chosen, and whether it is ``affordable`` within the budget on its own.
    """
    free = compared.value([])
    return [_entry(item, compared, chosen.items, free, room) for item in compared.items]


def _entry(item: Item, compared: Comparison, chosen: tuple[Item, ...], free: float, room: float) -> dict[str, Any]:
    others = [other for other in chosen if other.name != item.name]
    return {
        "name": item.name,
        "family": item.family,
        "cost": compared.costs[item.name],
        "gain": round(compared.value([item]) - free, DIGITS),
        "adds": round(compared.value([*others, item]) - compared.value(others), DIGITS),
        "chosen": any(other.name == item.name for other in chosen),
        "affordable": compared.costs[item.name] <= room,
        "exportable": item.exportable,
    }


def by_family(entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The entry of a ledger's ``considered`` with the largest gain, for each family."""
    best: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry["family"] not in best or entry["gain"] > best[entry["family"]]["gain"]:
            best[entry["family"]] = entry
    return best
