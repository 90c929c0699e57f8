"""How a choice is fitted into a budget when costs do not add up."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from support.comparisons import items

from ce_detect.calibrate.cost.pytorch import Meter
from ce_detect.calibrate.search import budget
from ce_detect.calibrate.search.ledger import Chosen


def meter(cost: Callable[[int], float], paying: float = 1.0) -> Meter:
    """What says that a gate of so many items costs so much."""
    made = SimpleNamespace(
        room=lambda budget, share: (budget * share - cost(0)) / paying, cost=lambda chosen, _: cost(len(chosen)),
        free=lambda: cost(0),
    )  # fmt: skip
    return cast(Meter, made)


def choose(room: float) -> Chosen:
    """As many items of cost 0.1 as there is room for."""
    found = tuple(items(max(0, int(room / 0.1 + 1e-9))))
    entries = [{"name": item.name} for item in found]
    return Chosen(found, {"objective": 0.5 + 0.01 * len(found), "chosen": entries})


@pytest.mark.parametrize("each", [0.05, 0.1, 0.2])
def test_room_is_corrected_by_what_the_whole_gate_costs(each: float) -> None:
    """Cheaper or dearer together than alone: the budget is used up as far as it goes, and kept."""
    measured = meter(lambda count: 1.1 + each * count)
    chosen = budget.within(choose, measured, 2.0)
    cost = 1.1 + each * len(chosen.items)
    assert cost <= 2.0 * budget.KEPT
    assert cost > 2.0 * budget.KEPT - 2 * each


@pytest.mark.parametrize(("worth", "least", "most"), [(0.01, 3, 6), (0.0001, 2, 2)])
def test_no_further_gate_is_measured_for_little(worth: float, least: int, most: int) -> None:
    """Once one choice fits and a larger one does not, what lies between is measured only where it is worth more."""
    measured: set[int] = set()

    def cost(count: int) -> float:
        measured.add(count)
        return 1.1 + (0.05 * count if count < 12 else 0.2 * count)

    def chosen(room: float) -> Chosen:
        found = choose(room)
        return Chosen(found.items, {**found.ledger, "objective": 0.5 + worth * len(found.items)})

    kept = budget.within(chosen, meter(cost), 2.0)
    assert 7 <= len(kept.items) < 12
    assert least <= len(measured - {0}) <= most


def test_what_is_worth_no_more_is_not_measured() -> None:
    """A choice between one that fits and one that does not is only made, and more room is tried."""
    worth = {1: 0.6, 3: 0.6, 4: 0.55, 5: 0.7, 9: 0.9}
    measured: list[int] = []

    def chosen(room: float) -> Chosen:
        count = max((size for size in worth if size <= room / 0.1 + 1e-9), default=1)
        found = tuple(items(count))
        return Chosen(found, {"objective": worth[count], "chosen": [{"name": item.name} for item in found]})

    def cost(count: int) -> float:
        if count:
            measured.append(count)
        return {0: 1.0, 1: 1.1, 3: 1.2, 4: 1.5, 5: 1.6}.get(count, 2.5)

    kept = budget.within(chosen, meter(cost), 2.0)
    assert len(kept.items) == 5
    assert 4 not in measured


def test_without_a_budget_one_round_is_enough() -> None:
    """There is nothing to correct."""
    rooms: list[float] = []
    budget.within(lambda room: rooms.append(room) or choose(0.3), meter(lambda _: 9.0), math.inf)  # type: ignore[func-returns-value]
    assert rooms == [math.inf]


def test_where_nothing_fits_the_last_items_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Down to the free statistics, and a warning where even they cost too much."""
    two = Chosen(tuple(items(2)), {"chosen": [{"name": "0"}, {"name": "1"}]})
    with caplog.at_level(logging.INFO, "ce_detect"):
        kept = budget.shortened(two, meter(lambda count: 1.4 + 0.4 * count), 2.0)
    assert [item.name for item in kept.items] == ["0"]
    assert "leaving out 1" in caplog.text
    assert "forward pass gives costs" not in caplog.text
    with caplog.at_level(logging.WARNING, "ce_detect"):
        assert budget.within(lambda _: two, meter(lambda count: 2.4 + count), 2.0).items == ()
    assert "what one forward pass gives costs 2.40 alone, more than the budget of 2.00" in caplog.text
