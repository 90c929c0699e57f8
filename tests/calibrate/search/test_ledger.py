"""What a search reports of everything that it considered."""

from __future__ import annotations

import pytest
from support.comparisons import black_sheep, compared, items

from ce_detect.calibrate.search.ledger import Chosen, by_family, considered


def test_everything_has_its_gain_alone_and_beside_what_was_chosen() -> None:
    """Two that say the same gain alike alone, and the one that was left out adds nothing."""
    candidates = [*items(2), black_sheep()]
    worth = {"0": 0.2, "1": 0.2, "torch": 0.1}
    found = compared(
        candidates,
        {"0": 0.1, "1": 0.5, "torch": 0.9},
        lambda names: 0.5 + (0.2 if names & {"0", "1"} else 0.0) + (0.1 if "torch" in names else 0.0),
    )
    entries = considered(found, Chosen((candidates[0],), {}), room=0.6)
    assert {entry["name"]: entry["gain"] for entry in entries} == pytest.approx(worth)
    assert {entry["name"]: entry["adds"] for entry in entries} == pytest.approx({"0": 0.2, "1": 0.0, "torch": 0.1})
    assert [entry["chosen"] for entry in entries] == [True, False, False]
    assert [entry["affordable"] for entry in entries] == [True, True, False]
    assert [entry["exportable"] for entry in entries] == [True, True, False]
    assert [entry["family"] for entry in entries] == ["geometry", "geometry", "adversarial"]


def test_the_best_of_each_family_is_the_one_with_the_largest_gain() -> None:
    """The first of equals; families in the order in which they were considered."""
    entries = [
        {"family": "b", "name": "1", "gain": 0.1},
        {"family": "a", "name": "2", "gain": 0.3},
        {"family": "b", "name": "3", "gain": 0.2},
        {"family": "b", "name": "4", "gain": 0.2},
    ]
    assert [(family, entry["name"]) for family, entry in by_family(entries).items()] == [("b", "3"), ("a", "2")]


def test_a_choice_is_shortened_from_its_end() -> None:
    """Items and their entries go together; what else the ledger says stays."""
    chosen = Chosen(tuple(items(2)), {"chosen": [{"name": "0"}, {"name": "1"}], "objective": 0.9})
    shorter = chosen.shortened()
    assert [item.name for item in shorter.items] == ["0"]
    assert shorter.ledger == {"chosen": [{"name": "0"}], "objective": 0.9}
    assert len(chosen.ledger["chosen"]) == 2
