"""Fingerprints in bounded memory."""

from __future__ import annotations

import sys

import numpy as np

from ce_detect.monitor.queries.index import NEEDED, Entry, MemoryIndex

OTHER = b"no such."
"""Hash of an input that was never seen as it is."""


def fingerprint(seed: int) -> tuple[list[bytes], Entry]:
    """An input that is like no other."""
    random = np.random.default_rng(seed)
    return [random.bytes(8) for _ in range(16)], (random.bytes(8), seed % 10)


def test_what_shares_enough_hashes_is_found() -> None:
    """Three of sixteen are enough, two are not."""
    index = MemoryIndex(10)
    keys, entry = fingerprint(0)
    index.add(keys, entry)
    others, _ = fingerprint(1)
    assert index.nearest([*keys[:NEEDED], *others[NEEDED:]], OTHER) == entry
    assert index.nearest([*keys[: NEEDED - 1], *others[NEEDED - 1 :]], OTHER) is None


def test_memory_is_bounded() -> None:
    """Entries and hashes alike."""
    index = MemoryIndex(50)
    for seed in range(500):
        index.add(*fingerprint(seed))
    assert len(index) == 50
    assert sum(map(len, index._entries)) == 50 * 17


def test_a_long_flood_leaves_no_room_that_is_not_used() -> None:
    """A table keeps the place of what was taken out of it: made anew in time it is no larger than a new one can be."""
    index = MemoryIndex(2000)
    for seed in range(6000):
        index.add(*fingerprint(seed))
    for table in index._entries:
        assert sys.getsizeof(table) <= 2 * sys.getsizeof(dict(table.items()))
    assert all(2 * gone <= len(table) for gone, table in zip(index._gone, index._entries, strict=True))


def test_a_flood_does_not_push_out_what_has_a_near_copy() -> None:
    """An attacker hides one step among a thousand unrelated inputs: his trace is still there."""
    index = MemoryIndex(50)
    keys, entry = fingerprint(0)
    index.add(keys, entry)
    assert index.nearest(keys, OTHER) == entry  # his second query
    for seed in range(1, 1001):
        index.add(*fingerprint(seed))
    assert index.nearest(keys, OTHER) == entry
    assert len(index) <= 50


def test_traces_do_not_push_out_everything_else() -> None:
    """Those with a near-copy take half of the places at most."""
    index = MemoryIndex(40)
    for seed in range(100):
        keys, entry = fingerprint(seed)
        index.add(keys, entry)
        index.nearest(keys, OTHER)
    assert len(index) <= 40
    assert sum(matched for _, _, matched in index.items()) == 20


def test_a_copy_is_kept_once() -> None:
    """The same input again takes no second place."""
    index = MemoryIndex(10)
    for _ in range(5):
        index.add(*fingerprint(3))
    assert len(index) == 1


def test_what_is_told_can_be_put_back() -> None:
    """After a restart the same inputs are found, with the same protection."""
    index, other = MemoryIndex(10), MemoryIndex(10)
    for seed in range(4):
        index.add(*fingerprint(seed))
    index.nearest(fingerprint(2)[0], OTHER)
    for entry, keys, matched in index.items():
        other.put(entry, keys, matched)
    assert list(other.items()) == list(index.items())
    assert other.nearest(fingerprint(1)[0], OTHER) == fingerprint(1)[1]


def test_an_exact_copy_is_found_before_what_is_alike() -> None:
    """Also where a near-copy came later and shares all hashes; once it is forgotten, its hash is too."""
    index = MemoryIndex(10)
    keys, entry = fingerprint(0)
    index.add(keys, entry)
    index.add(keys, (b"near by.", 0))
    assert index.nearest(keys, entry[0]) == entry
    assert index.nearest(keys, OTHER) == (b"near by.", 0)
