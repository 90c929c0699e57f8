"""What the store adds up to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.reviews import row

from ce_detect.records import tallies
from ce_detect.records.filters import Filter
from ce_detect.records.store import Store


def test_counters_and_settled_inputs(tmp_path: Path) -> None:
    """By outcome, for all, flagged and drawn; what was undone does not count; what has no picture is not exported."""
    store = Store(f"sqlite:///{tmp_path / 'reviews.db'}")
    store.add(replace(row(i), drawn=i < 2, file=None if i == 3 else f"{i}.npz") for i in range(6))
    first, second, third, fourth, *_ = store.items(Filter(status="all", order="oldest"), "ada")
    for item, verdict in ((first, "attack"), (second, "benign"), (third, "unsure"), (fourth, "attack")):
        store.decide(item.id, "ada", verdict)
    store.decide(first.id, "bob", "attack")
    store.decide(second.id, "bob", "benign")
    store.undo("bob")
    found = tallies.counters(store)
    assert found["all"] == {"open": 2, "attack": 2, "benign": 1, "unsure": 1}
    assert found["drawn"] == {"attack": 1, "benign": 1}
    assert found["reviewers"] == {"ada": 4, "bob": 1}
    assert [item.id for item in tallies.settled(store, ("attack", "benign"))] == [first.id, second.id]
    assert tallies.labels(store) == [0, 1, 2, 3, 4, 5]
    assert list(tallies.drawn(store).outcome) == ["attack", "benign"]
    store.close()
