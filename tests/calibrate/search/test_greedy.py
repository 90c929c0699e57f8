"""Greedy choices: what is taken first, what is left, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support.comparisons import black_sheep, compared, items

from ce_detect.calibrate.items import Item
from ce_detect.calibrate.search.comparison import Comparison
from ce_detect.calibrate.search.greedy import (
    FINALISTS,
    MOST_IN_ORDER,
    MOST_INTERVENTIONS,
    WORTH,
    best_found,
    finalists,
    greedy,
    in_order,
)
from ce_detect.calibrate.search.ledger import Chosen


def adding_up(gains: Mapping[str, float], costs: Mapping[str, float], candidates: list[Item]) -> Comparison:
    """Candidates that do not stand in each other's way."""
    return compared(candidates, costs, lambda names: 0.5 + sum(gains[name] for name in names))


def names(chosen: Chosen) -> list[str]:
    """What was chosen, in order."""
    return [item.name for item in chosen.items]


def test_the_best_comes_first_by_gain_or_by_gain_for_cost() -> None:
    """The ledger says what each cost, and what it gained where it was added."""
    gains, costs = {"0": 0.1, "1": 0.3, "2": 0.05}, {"0": 0.1, "1": 0.6, "2": 0.04}
    found = adding_up(gains, costs, items(3))
    by_gain = greedy(found, (), 1.0, per_cost=False)
    assert names(by_gain) == ["1", "0", "2"]
    assert names(greedy(found, (), 1.0, per_cost=True)) == ["2", "0", "1"]
    assert by_gain.ledger["chosen"][0] == {"name": "1", "cost": 0.6, "gain": 0.3}
    assert (by_gain.ledger["free"], by_gain.ledger["objective"]) == (0.5, 0.95)


def test_what_there_is_no_room_for_is_left_out() -> None:
    """Room shrinks by what was taken; the better of two ways to use it wins."""
    gains, costs = {"0": 0.1, "1": 0.3, "2": 0.15}, {"0": 0.4, "1": 0.9, "2": 0.5}
    found = adding_up(gains, costs, items(3))
    assert names(greedy(found, (), 1.0, per_cost=False)) == ["1"]
    assert names(greedy(found, (), 0.5, per_cost=False)) == ["2"]
    assert names(best_found(found, (), 1.0)) == ["1"]
    cheaper = adding_up({**gains, "1": 0.2}, costs, items(3))
    assert set(names(best_found(cheaper, (), 1.0))) == {"0", "2"}


def test_two_small_ones_may_be_worth_more_than_a_large_one() -> None:
    """Each alone is worth less, also for its cost, and there is no room for the large one beside either."""
    costs = {"0": 0.5, "1": 0.4, "2": 0.4}
    worth = {("1",): 0.6, ("2",): 0.6, ("0",): 0.9, ("1", "2"): 1.0}
    found = compared(items(3), costs, lambda taken: worth.get(tuple(sorted(taken)), 0.5))
    assert names(best_found(found, (), 0.8)) == ["1", "2"]
    assert names(best_found(found, (), 0.7)) == ["0"]
    required = items(3)[:1]
    assert names(best_found(found, required, 0.8))[0] == "0"


def test_finalists_are_the_best_alone_and_beside_what_would_be_chosen() -> None:
    """Also what is required, and what adds most beside others; what cannot be exported is none of them."""
    many = [*items(20), black_sheep()]
    gains = {item.name: 0.001 * (20 - position) for position, item in enumerate(many)}
    alike = {"1", "2", "3", "4", "5", "6"}

    def worth(taken: frozenset[str]) -> float:
        return 0.5 + sum(gains[name] for name in taken if name not in alike or not alike & taken - {name})

    found = compared(many, {item.name: 0.5 for item in many}, worth)
    kept = {item.name for item in finalists(found, many[19:20], 1.7)}
    assert {"19", "0", *map(str, range(FINALISTS))} <= kept
    assert {"7", "8"} <= kept
    assert "torch" not in kept
    assert len(kept) <= 2 * FINALISTS + 3


def test_what_says_the_same_twice_is_taken_once() -> None:
    """A gain is over all that was taken before; below `WORTH` nothing is added."""
    found = compared(items(2), {"0": 0.1, "1": 0.1}, lambda taken: 0.5 + (0.2 if taken else 0.0))
    assert names(greedy(found, (), 1.0, per_cost=False)) == ["0"]
    little = adding_up({"0": WORTH / 2}, {"0": 0.1}, items(1))
    assert names(greedy(little, (), 1.0, per_cost=False)) == []


def test_what_is_required_comes_first_and_what_cannot_be_exported_never() -> None:
    """Whatever either is worth."""
    candidates = [*items(2), black_sheep()]
    gains, costs = {"0": -0.1, "1": 0.1, "torch": 0.4}, {"0": 0.4, "1": 0.2, "torch": 0.1}
    chosen = greedy(adding_up(gains, costs, candidates), candidates[:1], 0.7, per_cost=False)
    assert names(chosen) == ["0", "1"]
    assert chosen.ledger["chosen"][0]["gain"] == pytest.approx(-0.1)


def test_a_signature_does_not_grow_without_end() -> None:
    """However much room there is, and however much each would add."""
    many = items(2 * MOST_INTERVENTIONS)
    costs = dict.fromkeys((item.name for item in many), 0.0)
    chosen = greedy(adding_up(dict.fromkeys(costs, 0.01), costs, many), (), float("inf"), per_cost=True)
    assert len(chosen.items) == MOST_INTERVENTIONS


def test_in_order_takes_the_first_that_there_is_room_for() -> None:
    """One that is too dear is passed over."""
    costs = {"0": 0.3, "1": 0.9, "2": 0.2, "3": 0.1, "4": 0.1, "5": 0.1}
    chosen = in_order(items(6), costs, 1.0)
    assert names(chosen) == ["0", "2", "3", "4"]
    assert len(chosen.items) == MOST_IN_ORDER
    assert chosen.ledger == {
        "chosen": [{"name": name, "cost": costs[name]} for name in ("0", "2", "3", "4")],
        "considered": [],
    }
