"""Which candidates to take while there is room for their cost: the best next, or one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ce_detect.calibrate.items import Item
from ce_detect.calibrate.search.comparison import Comparison
from ce_detect.calibrate.search.ledger import DIGITS, Chosen

MOST_INTERVENTIONS = 12
"""Interventions in a signature, at most, however large the budget."""

MOST_IN_ORDER = 4
"""Interventions in a signature, at most, where nothing says what they are worth."""

WORTH = 3e-4
"""Gain in the objective below which an addition is not worth its cost."""

CHEAP = 0.02
"""Cost below which no item counts as cheaper than another, in forward passes: clocks are no finer."""

LEAST_TRIED = 12
"""Candidates that are always tried again in the next step, those with the largest gains."""


PAIRED = 12
"""Interventions of which each two are looked at together, those that are worth most alone."""

FINALISTS = 6
"""Items that are compared once more, of those that are worth most alone, and as many of those that add most."""


def best_found(compared: Comparison, required: Sequence[Item], room: float) -> Chosen:
    """The best of three greedy choices: by gain for cost, by gain, and by gain from the best pair on.

    One large intervention may be worth more than each of two smaller ones, and less than both together.
    """
    pair = _best_pair(compared, required, room)
    runs = [greedy(compared, required, room, per_cost=per_cost) for per_cost in (True, False)]
    if pair:
        runs.append(greedy(compared, [*required, *pair], room, per_cost=False))
    return max(runs, key=lambda run: run.ledger["objective"])


def finalists(compared: Comparison, required: Sequence[Item], room: float) -> list[Item]:
    """What deserves to be compared on more images: what would be chosen, what is worth most alone, what adds most."""
    chosen = best_found(compared, required, room).items
    able = [item for item in compared.items if item.exportable]
    kept = {item.name for item in (*required, *chosen)}
    for others in ((), chosen):
        left = [item for item in able if item.name not in {other.name for other in others}]
        left.sort(key=lambda item: -compared.value([*others, item]))
        kept |= {item.name for item in left[:FINALISTS]}
    return [item for item in compared.items if item.name in kept]


def _best_pair(compared: Comparison, required: Sequence[Item], room: float) -> tuple[Item, ...]:
    """The two interventions that are worth most together, beside what is required; none where no two have room."""
    costs = compared.costs
    left = room - sum(costs[item.name] for item in required)
    able = [item for item in compared.items if item.exportable and item.intervention and item not in required]
    able.sort(key=lambda item: -compared.value([*required, item]))
    pairs = [pair for pair in combinations(able[:PAIRED], 2) if sum(costs[item.name] for item in pair) <= left]
    return max(pairs, key=lambda pair: compared.value([*required, *pair]), default=())


def greedy(compared: Comparison, required: Sequence[Item], room: float, *, per_cost: bool) -> Chosen:
    """Add the best item, one at a time, while there is room and something is worth its cost.

    What cannot be exported is never added.

    Args:
        compared: all candidates.
        required: what comes first, whatever it is worth.
        room: for the costs of items, in forward passes.
        per_cost: whether the best is the one with the largest gain for its cost, or with the largest gain.
    """
    costs = compared.costs
    chosen: list[Item] = []
    entries: list[dict[str, Any]] = []
    value = free = compared.value([])
    for item in required:
        before, value = value, compared.value([*chosen, item])
        chosen.append(item)
        entries.append(_entry(item, costs, value - before))
        room -= costs[item.name]
    left = [item for item in compared.items if item.exportable and item not in required]
    while sum(item.intervention is not None for item in chosen) < MOST_INTERVENTIONS:
        left = [item for item in left if costs[item.name] <= room]
        gains = {item.name: compared.value([*chosen, item]) - value for item in left}
        best = _best(left, gains, costs if per_cost else {})
        if best is None:
            break
        chosen.append(best)
        entries.append(_entry(best, costs, gains[best.name]))
        value += gains[best.name]
        room -= costs[best.name]
        left = [item for item in _promising(left, gains) if item is not best]
    ledger = {"free": round(free, DIGITS), "objective": round(value, DIGITS), "chosen": entries}
    return Chosen(tuple(chosen), ledger)


def in_order(items: Sequence[Item], costs: Mapping[str, float], room: float) -> Chosen:
    """Take the first items that there is room for: what to do where nothing says what they are worth."""
    chosen: list[Item] = []
    for item in items:
        if costs[item.name] <= room and len(chosen) < MOST_IN_ORDER:
            chosen.append(item)
            room -= costs[item.name]
    entries = [{"name": item.name, "cost": costs[item.name]} for item in chosen]
    return Chosen(tuple(chosen), {"chosen": entries, "considered": []})


def _best(items: Sequence[Item], gains: Mapping[str, float], costs: Mapping[str, float]) -> Item | None:
    """The item with the largest gain, for its cost where that is given; None where none is worth it."""
    worth = [item for item in items if gains[item.name] >= WORTH]
    return max(worth, key=lambda item: gains[item.name] / max(costs.get(item.name, 1.0), CHEAP), default=None)


def _promising(items: Sequence[Item], gains: Mapping[str, float]) -> list[Item]:
    """Those with the largest gains: what adds little now hardly adds more beside others."""
    return sorted(items, key=lambda item: -gains[item.name])[: max(LEAST_TRIED, len(items) * 2 // 3)]


def _entry(item: Item, costs: Mapping[str, float], gain: float) -> dict[str, Any]:
    return {"name": item.name, "cost": costs[item.name], "gain": round(gain, DIGITS)}
