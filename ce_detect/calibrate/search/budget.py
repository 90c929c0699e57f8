"""How a choice is fitted into a budget: costs do not simply add up, so the gate is measured whole, again and again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from ce_detect.calibrate.cost.pytorch import Meter
from ce_detect.calibrate.search.ledger import Chosen

logger = logging.getLogger("ce_detect")

MARGIN = 0.06
"""Share of the budget that a choice leaves for costs that do not simply add up."""

KEPT = 1 - MARGIN / 2
"""Share of the budget that a gate may be measured to cost; the rest is for scatter in timing."""

ROUNDS = 6
"""Rounds of choosing items and measuring the whole gate."""

CHOICES = 16
"""Choices that are made in all: one that is worth too little is not measured."""

GROWTH = 2.0
"""Times by which the room may grow from one choice to the next."""

LITTLE = 1e-3
"""Difference in the objective for which no further gate is measured."""


def room(meter: Meter, budget: float) -> float:
    """What a budget leaves for items, in forward passes of an input that pays for them."""
    return meter.room(budget, 1 - MARGIN)


def within(choose: Callable[[float], Chosen], meter: Meter, budget: float) -> Chosen:
    """Repeat a choice with more or less room, as the whole gate was measured to cost; keep the best that fits.

    Measuring takes long. It ends with a choice that fits and leaves no more than the margin, or once a choice that does
    not fit is worth little more than one that does. What lies between is measured only where it is worth more.

    Args:
        choose: takes the room for items, in forward passes.
        meter: what measures costs.
        budget: largest cost of a gated forward; may be infinite.
    """
    given = room(meter, budget)
    enough, too_much = 0.0, math.inf
    most = math.inf  # what the best choice between the two can be worth
    fitting: list[tuple[Chosen, float]] = []
    rounds = 1 if math.isinf(budget) else ROUNDS
    for _ in range(CHOICES):
        chosen = choose(given)
        best = max((_worth(found) for found, _ in fitting), default=-math.inf)
        if enough < given < too_much < math.inf and _worth(chosen) < best + LITTLE:
            enough = given
            given = (enough + too_much) / 2
            continue
        cost = meter.cost(chosen.items, budget)
        rounds -= 1
        if cost <= budget * KEPT:
            fitting.append((chosen, cost))
            best = max(best, _worth(chosen))
            if cost >= budget * (1 - MARGIN):
                break
            enough = max(enough, given)
        elif given < too_much:
            too_much, most = given, _worth(chosen)
        if not rounds or given <= 0 or (fitting and most < best + LITTLE):
            break
        corrected = given * min(GROWTH, (budget * (1 - MARGIN) - meter.free()) / max(cost - meter.free(), 1e-9))
        between = (enough + too_much) / 2 if math.isfinite(too_much) else corrected
        given = corrected if enough < corrected < too_much else between
    if fitting:
        return max(fitting, key=lambda found: (_worth(found[0]), found[1]))[0]
    return shortened(chosen, meter, budget, share=KEPT)


def _worth(chosen: Chosen) -> float:
    """Value of the objective; the number of items where nothing tells it."""
    return float(chosen.ledger.get("objective", len(chosen.items)))


def shortened(chosen: Chosen, meter: Meter, budget: float, *, share: float = 1.0) -> Chosen:
    """Leave out the last items until the whole gate keeps so much of the budget."""
    while (cost := meter.cost(chosen.items, budget)) > budget * share and chosen.items:
        logger.info("measured cost %.2f is too much for the budget; leaving out %s", cost, chosen.items[-1].name)
        chosen = chosen.shortened()
    if cost > budget:
        logger.warning("what one forward pass gives costs %.2f alone, more than the budget of %.2f", cost, budget)
    return chosen
