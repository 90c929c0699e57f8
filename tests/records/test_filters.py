"""Filters of the queue: what a query string says, and which inputs that are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.reviews import row

from ce_detect.core.errors import UsageError
from ce_detect.records import alarms
from ce_detect.records.filters import Filter
from ce_detect.records.store import Store

FULL = {
    "status": "all", "kind": "flagged", "client": "a & b", "label": "3", "most": "0.25", "since": "2026-11-30T08:00:00",
    "until": "2026-11-30T09:30:00", "alarm": "7", "order": "newest",
}  # fmt: skip


def test_a_query_string_comes_back() -> None:
    """What was read is said again, and what is as by default is not said."""
    assert Filter.of(FULL).query() == FULL
    assert Filter.of({"label": " ", "client": ""}).query() == {}
    assert Filter.of({"since": "2026-11-30T09:00+01:00"}) == Filter.of({"since": "2026-11-30T08:00"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status", "done"), ("label", "cat"), ("label", "9" * 30), ("most", "nan"), ("most", "x"),
        ("since", "yesterday"),
        ("since", "0001-01-01T00:00+23:59"), ("until", "9999-12-31T23:59-23:59"), ("alarm", "1.5"), ("order", "random"),
    ],
)  # fmt: skip
def test_nonsense_is_named(name: str, text: str) -> None:
    """The error says which value."""
    with pytest.raises(UsageError, match=name):
        Filter.of({name: text})


def test_each_filter_leaves_what_it_names(tmp_path: Path) -> None:
    """Client, label, p-value, time, kind and alarm."""
    store = Store(f"sqlite:///{tmp_path / 'reviews.db'}")
    store.add(replace(row(i), time=1e6 + 100 * i, drawn=i % 4 == 0, flagged=i % 4 != 0) for i in range(60))

    def numbers(**asked: str) -> set[int]:
        found = store.items(Filter.of({"status": "all", **asked}), "ada", most=100)
        return {int(item.source.partition(".")[0]) for item in found}

    assert numbers(client="client 1") == set(range(1, 60, 3))
    assert numbers(label="3") == set(range(3, 60, 10))
    assert numbers(most=repr(1 / 12)) == set(range(10, 60))
    assert numbers(kind="drawn") == set(range(0, 60, 4))
    assert numbers(kind="flagged") == set(range(60)) - set(range(0, 60, 4))
    assert numbers(since="1970-01-12T14:05:00") == set(range(11, 60))
    assert numbers(until="1970-01-12T14:05:00") == set(range(12))
    for scope, name, expected in (
        ("overall", "", range(10, 60)), ("client", "client 2", range(11, 60, 3)), ("label", "7", range(17, 60, 10)),
    ):  # fmt: skip
        said = {"kind": "campaign", "scope": scope, "name": name, "text": "many"}
        number = alarms.add(store, 1e6 + 4600, said)
        assert alarms.add(store, 1e6 + 4600, said) == number
        assert numbers(alarm=str(number)) == set(expected)
    assert numbers(alarm="99") == set()
    early = alarms.add(store, 1e6 + 800, {"kind": "campaign", "scope": "overall", "name": "", "text": "many"})
    assert numbers(alarm=str(early)) == set(range(45))
    store.close()
