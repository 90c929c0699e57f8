"""Streams: alarms, what they tell, and bounded memory that an attacker cannot flush."""

from __future__ import annotations

import numpy as np

from ce_detect.monitor.evidence import Bets
from ce_detect.monitor.streams import QUIET, Stream, Streams

BETS = Bets(np.array([0.02, 0.1]))
HIT, MISS = np.array([[True, True]]), np.array([[False, False]])


def test_a_campaign_is_one_alarm_and_its_beginning_is_found() -> None:
    """After 500 clean inputs come hits alone: one alarm, that says how long they have lasted."""
    stream = Stream.of(BETS, 1e6)
    assert list(stream.feed(np.repeat(MISS, 500, 0))) == []
    ((lasted, hits),) = stream.feed(np.repeat(HIT, 60, 0))
    assert lasted <= 15
    assert hits.tolist() == [lasted, lasted]
    assert stream.active
    assert stream.seen == 560


def test_after_a_quiet_time_the_next_campaign_is_another_alarm() -> None:
    """Activity ends by itself."""
    stream = Stream.of(BETS, 1e6)
    assert len(list(stream.feed(np.repeat(HIT, 30, 0)))) == 1
    assert list(stream.feed(np.repeat(MISS, QUIET + 50, 0))) == []
    assert not stream.active
    assert len(list(stream.feed(np.repeat(HIT, 30, 0)))) == 1


def test_memory_is_bounded_and_a_trace_cannot_be_flushed() -> None:
    """An attacker who comes back under 2,000 other names finds his evidence where he left it."""
    streams = Streams(100)
    list(streams.of("attacker", BETS, 1e6).feed(np.repeat(HIT, 2, 0)))
    before = streams.of("attacker", BETS, 1e6).evidence.value
    for number in range(2000):
        list(streams.of(f"name {number}", BETS, 1e6).feed(MISS))
    assert len(streams) == 100
    assert before > 1
    assert streams.of("attacker", BETS, 1e6).evidence.value == before


def test_a_name_that_is_silent_is_forgotten() -> None:
    """Among names with nothing against them, the longest silent goes."""
    streams = Streams(2)
    for name in ("a", "b", "a", "c"):
        list(streams.of(name, BETS, 1e6).feed(MISS))
    assert sorted(name for name, _ in streams) == ["a", "c"]


def test_a_kept_state_of_more_names_is_cut_to_the_bound() -> None:
    """A restart with a smaller bound keeps to it; who has evidence against him stays, and others are told of."""
    gone: list[str] = []
    streams = Streams(10, gone.append)
    for number in range(30):
        stream = Stream.of(BETS, 1e6)
        list(stream.feed(HIT if number == 3 else MISS))
        streams.put(f"name {number}", stream)
    assert len(streams) == 10
    assert "name 3" in {name for name, _ in streams}
    assert len(gone) == 20
