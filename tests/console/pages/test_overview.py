"""Alarms and counters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.testclient import TestClient

from ce_detect.monitor.interval import FalseAlarmRate
from ce_detect.records import alarms, tallies
from ce_detect.records.filters import Filter
from ce_detect.records.rows import Row
from ce_detect.records.store import Store


def test_alarms(http: TestClient, store: Store) -> None:
    """Their history, with a way to their inputs; texts are shown, not run."""
    assert "There are none" in http.get("/alarms").text
    number = alarms.add(store, 65.0, {"kind": "campaign", "scope": "client", "name": "<eve>", "text": "<b>many</b>"})
    text = http.get("/alarms").text
    assert "&lt;b&gt;many" in text
    assert "client &lt;eve&gt;" in text
    assert f"alarm={number}" in text
    assert "1970-01-01 00:01:05" in text


def test_counters(http: TestClient, store: Store) -> None:
    """The false-alarm rate comes from inputs that were drawn at random, and from these alone."""
    assert "Nobody knows yet" in http.get("/counters").text
    items = store.items(Filter(), "ada", most=20)
    flagged = [item for item in items if item.flagged][:1]
    passed = [item for item in items if not item.flagged][:3]
    for item in (*flagged, *passed):
        store.decide(item.id, "ada", "benign")
    text = http.get("/counters").text
    assert "Of 4 inputs that were drawn at random and found clean, 1 were flagged: 25.00" in text
    assert "ada: 4" in text
    others = len(items) - 4
    suspicious = sum(item.flagged for item in items) - 1
    least, most = 100 / (4 + others - suspicious), 100 * (1 + suspicious) / (4 + suspicious)
    assert f"settled about {others} others" in text
    assert f"between {least:.2f} and {most:.2f}" in text
    for item in items:
        store.decide(item.id, "ada", "benign")
    text = http.get("/counters").text
    assert f"{suspicious + 1} were flagged" in text
    assert "Nothing is settled" not in text


def test_the_present_rate_has_an_interval(http: TestClient, store: Store, settings: dict[str, Any]) -> None:
    """Over the latest inputs alone, as wide as open ones make it; a promise that does not hold any more is told."""
    items = store.items(Filter(), "ada", most=20)
    store.decide(items[0].id, "ada", "benign")
    promised = settings["gate"].manifest["fpr"]
    text = http.get("/counters").text
    assert f"Promised were {100 * promised:.2f}" in text
    assert "whatever the open ones are" in text
    assert "no longer holds" not in text
    for item in items:
        store.decide(item.id, "ada", "benign")
    drawn = tallies.drawn(store)
    exact = FalseAlarmRate(flagged=int(drawn.flagged.sum()), clean=len(drawn.score)).interval
    assert f"between {100 * exact[0]:.2f} and {100 * exact[1]:.2f}" in http.get("/counters").text
    rows = [
        Row(source=f"late {i}", time=100.0 + i, score=9.0, p_value=0.01, flagged=i % 2 == 0, drawn=True)
        for i in range(700)
    ]
    store.add(rows)
    for item in store.items(Filter(), "ada", most=2000):
        store.decide(item.id, "ada", "benign")
    text = http.get("/counters").text
    assert "The promise no longer holds" in text
    assert f"Among the latest {700 + len(items)} that were drawn" in text
    store.add(replace(row, source=f"before {row.source}", threshold=-3.0) for row in rows)  # of a threshold of before
    for item in store.items(Filter(), "ada", most=3000):
        store.decide(item.id, "ada", "benign")
    assert f"Among the latest {700 + len(items)} that were drawn" in http.get("/counters").text
