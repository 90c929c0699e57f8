"""Which interventions are worth their cost for this model, within the budget that the user names."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.calibrate.cost.pytorch import Meter
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.search.candidates import Item, candidates, columns, completed, learnable, of
from ce_detect.calibrate.search.objective import Objective
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Progress
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.fitting import feature_tables, heads
from ce_detect.fitting import interventions as learned
from ce_detect.interventions import AblateConcept, Intervention, LearnedIntervention, RobustCopy

logger = logging.getLogger("ce_detect")

MOST_INTERVENTIONS = 12
"""Interventions in a signature, at most, however large the budget."""

WORTH = 3e-4
"""Gain in the objective below which an addition is not worth its cost."""

MARGIN = 0.06
"""Share of the budget that the search leaves for costs that do not simply add up."""

KEPT = 1 - MARGIN / 2
"""Share of the budget that a gate may be measured to cost; the rest is for scatter in timing."""

_ROWS = {"fit": (600, 180), "select": (300, 120)}
"""Clean images, and attacked images of each attack, on which candidates are compared."""

_TRIES = 8
"""Rounds of choosing and measuring the gate whole in a search."""

_STAGES = ("learning interventions", "timing interventions", "trying them on fit", "trying them on select", "choosing")

Columns = dict[str, NDArray[np.int64]]


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

    def shrunk(self) -> Chosen:
        """The same without its last item."""
        kept = self.items[:-1]
        return replace(self, items=kept, ledger={**self.ledger, "chosen": self.ledger["chosen"][: len(kept)]})


def search(
    classifier: Classifier,
    sets: dict[str, heads.Sets],
    meter: Meter,
    *,
    recipe: Recipe,
    budget: float,
    seed: int,
    drawn: int,
    cache: Path,
    required: Sequence[Item] = (),
    labels: NDArray[Any] | None = None,
    progress: Progress | None = None,
) -> Chosen:
    """Choose interventions and statistics with which the gate keeps a budget.

    Interventions that are learned are learned first, from the clean images of *fit*. Two greedy searches, by gain and
    by gain for cost, then add one item at a time while the budget lasts; the better wins. Costs do not simply add up,
    so the gate is then measured whole, and the search is repeated with more or less room. What cannot be exported is
    measured and reported, but never chosen: only a recipe can ask for it. A recipe that names its interventions is
    taken at its word, as far as the budget goes. Without attacks there is nothing to compare by, and the candidates
    are taken in the order of `candidates`.

    Args:
        classifier: what is wrapped.
        sets: the splits ``"fit"`` and ``"select"``.
        meter: what measures costs.
        recipe: may name interventions.
        budget: largest cost of a gated forward; may be infinite.
        seed: seed of learning.
        drawn: seed that random interventions draw from; a recipe that names another is taken at its word.
        cache: folder where signatures of candidates are kept.
        required: what comes first, as far as the budget goes, whatever it is worth.
        labels: true classes of the clean images of *select*, where known; they only serve the ledger.
        progress: called as each stage begins.

    Returns:
        What was chosen, by what the whole signature is worth also where a cascade will show it to some inputs only. The
        ledger holds of everything considered its ``cost``, its ``gain`` in
        the objective over the free statistics alone, what it ``adds`` to all others that were chosen, and whether it is
        ``affordable`` within the budget on its own.

    Raises:
        CalibrationError: a recipe names an intervention that cannot be made or learned for this classifier.
    """
    stage = iter(enumerate(_STAGES))

    def begin() -> None:
        done, what = next(stage)
        if progress is not None:
            progress(f"search: {what}", done, len(_STAGES))

    begin()
    if recipe.interventions:
        if any(spec.get("kind") == RobustCopy.__name__ for spec in recipe.interventions):
            raise CalibrationError("the recipe names RobustCopy, which hardening adds by itself: ask for harden = 1")
        named = [*required, *(of(completed(spec, classifier, drawn)) for spec in recipe.interventions)]
        taught, figures = _taught(classifier, named, sets, labels, seed)
        if lost := [item.name for item in named if item not in taught]:
            raise CalibrationError(f"the recipe names {lost[0]}, which cannot be learned for this classifier")
        ledger = {"chosen": [{"name": item.name} for item in named], "considered": [], "learned": figures}
        return _shrunk(Chosen(tuple(named), ledger), meter, budget)
    items = [*required, *candidates(classifier, drawn)]
    if not recipe.attacks:
        plain = [item for item in items if item.intervention is not None and item.exportable]
        costs = meter.items(plain)
        return _within(lambda room: _in_order(plain, costs, room), meter, budget)
    taught, figures = _taught(classifier, learnable(classifier), sets, labels, seed)
    recovered = learned.layer_consistency(classifier, sets["fit"].clean)
    items += taught if recovered is None else [*taught, Item("recovery", layer_consistency=recovered)]
    begin()
    costs = meter.items(items)
    everything = meter.signature(items)
    found = {}
    for name, part in sets.items():
        begin()
        found[name] = feature_tables.table(everything, _some(part, *_ROWS[name]), cache)
    begin()
    own = columns(everything.names, items)
    objective = Objective(found["fit"], found["select"])
    allowed = [item for item in items if item.exportable]

    def choose(room: float) -> Chosen:
        runs = [
            _greedy(allowed, costs, room, own, objective, required, per_cost=per_cost) for per_cost in (True, False)
        ]
        return max(runs, key=lambda run: run.ledger["objective"])

    chosen = _within(choose, meter, budget)
    considered = _considered(items, costs, own, objective, chosen, room=_room(meter, budget))
    for family, best in by_family(considered).items():
        logger.info("best of %s: %s", family, best)
    return replace(chosen, ledger={**chosen.ledger, "considered": considered, "learned": figures})


def by_family(considered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The entry of a ledger's ``considered`` with the largest gain, for each family."""
    families = dict.fromkeys(entry["family"] for entry in considered)
    return {
        family: max((entry for entry in considered if entry["family"] == family), key=lambda entry: entry["gain"])
        for family in families
    }


def _taught(
    classifier: Classifier, items: list[Item], sets: dict[str, heads.Sets], labels: NDArray[Any] | None, seed: int
) -> tuple[list[Item], list[dict[str, Any]]]:
    """Learn what is to be learned; return the items that can be used, and how the inserted autoencoders do."""
    pupils = [item.intervention for item in items if isinstance(item.intervention, LearnedIntervention)]
    able = learned.teach(classifier, pupils, sets["fit"].clean, seed=seed)
    left = [item for item in items if item.intervention not in pupils or item.intervention in able]
    clean = sets["select"].clean
    figures = [
        {"name": pupil.name, **learned.inserted(classifier, pupil, clean, labels)}
        for pupil in able
        if isinstance(pupil, AblateConcept) and len(clean)
    ]
    return left, figures


def _considered(
    items: list[Item], costs: dict[str, float], own: Columns, objective: Objective, chosen: Chosen, *, room: float
) -> list[dict[str, Any]]:
    """Cost and gain of everything, first on its own and then beside what was chosen."""
    names = [item.name for item in chosen.items]
    free = objective(own[""])

    def value(wanted: list[str]) -> float:
        return objective(np.concatenate([own[""], *(own[name] for name in wanted)]))

    entries = []
    for item in items:
        others = [name for name in names if name != item.name]
        entries.append(
            {
                "name": item.name,
                "family": item.family,
                "cost": costs[item.name],
                "gain": round(value([item.name]) - free, 5),
                "adds": round(value([*others, item.name]) - value(others), 5),
                "chosen": item.name in names,
                "affordable": costs[item.name] <= room,
                "exportable": item.exportable,
            }
        )
    return entries


def _within(choose: Callable[[float], Chosen], meter: Meter, budget: float) -> Chosen:
    """Repeat a choice with the room corrected by what the whole gate was measured to cost; keep the best that fits."""
    aim = budget * (1 - MARGIN)
    room = _room(meter, budget)
    enough, too_much = 0.0, math.inf
    fitting: list[tuple[Chosen, float]] = []
    for _ in range(1 if math.isinf(budget) else _TRIES):
        chosen = choose(room)
        cost = meter.cost(chosen.items, budget)
        if cost <= budget * KEPT:
            fitting.append((chosen, cost))
            enough = max(enough, room)
        else:
            too_much = min(too_much, room)
        corrected = room + (aim - cost) / meter.paying
        between = (enough + too_much) / 2 if math.isfinite(too_much) else corrected
        room = corrected if enough < corrected < too_much else between
    if fitting:
        return max(fitting, key=lambda found: (found[0].ledger.get("objective", 0.0), found[1]))[0]
    return _shrunk(chosen, meter, budget, share=KEPT)


def _room(meter: Meter, budget: float) -> float:
    """What a budget leaves for items, in forward passes of an input that pays for them."""
    return (budget * (1 - MARGIN) - meter.free()) / meter.paying


def _shrunk(chosen: Chosen, meter: Meter, budget: float, *, share: float = 1.0) -> Chosen:
    """Leave out the last items until the whole gate keeps so much of the budget."""
    while (cost := meter.cost(chosen.items, budget)) > budget * share and chosen.items:
        logger.info("measured cost %.2f is too much for the budget; leaving out %s", cost, chosen.items[-1].name)
        chosen = chosen.shrunk()
    if cost > budget:
        logger.warning("the free statistics alone cost %.2f, more than the budget of %.2f", cost, budget)
    return chosen


def _some(sets: heads.Sets, clean: int, attacked: int) -> heads.Sets:
    """The first images of a split: enough to compare candidates by."""
    some = {name: twins.subset(slice(attacked)) for name, twins in sets.attacked.items()}
    return heads.Sets(sets.clean[:clean], some)


def _greedy(
    items: list[Item],
    costs: dict[str, float],
    room: float,
    own: Columns,
    objective: Objective,
    required: Sequence[Item],
    *,
    per_cost: bool,
) -> Chosen:
    used, value = own[""], objective(own[""])
    start = value
    left, ledger = [item for item in items if item not in required], []
    chosen: list[Item] = []
    for item in required:
        used = np.concatenate([used, own[item.name]])
        value, before = objective(used), value
        chosen.append(item)
        ledger.append({"name": item.name, "cost": costs[item.name], "gain": round(value - before, 5)})
        room -= costs[item.name]
    while left and sum(item.intervention is not None for item in chosen) < MOST_INTERVENTIONS:
        left = [item for item in left if costs[item.name] <= room]
        gains = {item.name: objective(np.concatenate([used, own[item.name]])) - value for item in left}
        worth = [item for item in left if gains[item.name] >= WORTH]
        if not worth:
            break
        best = max(worth, key=lambda i: gains[i.name] / (max(costs[i.name], 0.02) if per_cost else 1.0))
        chosen.append(best)
        ledger.append({"name": best.name, "cost": costs[best.name], "gain": round(gains[best.name], 5)})
        used, value = np.concatenate([used, own[best.name]]), value + gains[best.name]
        room -= costs[best.name]
        promising = sorted(left, key=lambda i: -gains[i.name])[: max(12, len(left) * 2 // 3)]
        left = [item for item in promising if item is not best]
    return Chosen(tuple(chosen), {"free": round(start, 5), "objective": round(value, 5), "chosen": ledger})


def _in_order(items: list[Item], costs: dict[str, float], room: float) -> Chosen:
    chosen: list[Item] = []
    limit = MOST_INTERVENTIONS if math.isinf(room) else len(items)
    for item in items:
        if costs[item.name] <= room and len(chosen) < min(limit, 4):
            chosen.append(item)
            room -= costs[item.name]
    ledger = [{"name": item.name, "cost": costs[item.name]} for item in chosen]
    return Chosen(tuple(chosen), {"chosen": ledger, "considered": []})
