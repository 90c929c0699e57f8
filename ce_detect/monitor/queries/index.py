"""Fingerprints of earlier inputs in bounded memory, where a flood of others does not push out an attack's trace."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

NEEDED = 3
"""Hashes that two near-copies share, of those that a fingerprint has."""

PARTS = 200
"""Tables that hashes are kept in: one large table would grow by tens of MiB at a time."""

Entry = tuple[bytes, int]
"""Hash of the whole input, and the label that was answered."""


class Index(Protocol):
    """Where fingerprints are looked up."""

    def nearest(self, keys: Sequence[bytes], whole: bytes) -> Entry | None:
        """The earlier input that is the same, or else shares most hashes; None where none shares `NEEDED`."""
        ...

    def add(self, keys: Sequence[bytes], entry: Entry) -> None:
        """Keep a fingerprint."""
        ...


def most_alike(found: Sequence[Entry | None]) -> Entry | None:
    """The entry that was found under most keys, see `Index.nearest`."""
    counts = Counter(entry for entry in found if entry is not None)
    if not counts:
        return None
    entry, count = counts.most_common(1)[0]
    return entry if count >= NEEDED else None


class MemoryIndex:
    """Fingerprints in the memory of this process.

    What has had a near-copy moves to a second queue, of half the places. Inputs that are like nothing else push out
    their own kind alone. So an attacker cannot flush his trace with unrelated inputs; near-copies of those would be
    evidence against him.

    Args:
        most: inputs that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: list[dict[bytes, Entry]] = [{} for _ in range(PARTS)]
        self._gone = [0] * PARTS
        self._new: OrderedDict[Entry, tuple[bytes, ...]] = OrderedDict()
        self._matched: OrderedDict[Entry, tuple[bytes, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._new) + len(self._matched)

    def nearest(self, keys: Sequence[bytes], whole: bytes) -> Entry | None:
        """See `Index`."""
        found = self._entry(whole)
        if found is None:
            entries = [self._entries[hash(key) % PARTS].get(key) for key in keys]
            found = most_alike(entries) if len(entries) - entries.count(None) >= NEEDED else None
        if found is not None and found in self._new:
            self._matched[found] = self._new.pop(found)
            self._trim(self._matched, self._most // 2)
        return found

    def add(self, keys: Sequence[bytes], entry: Entry) -> None:
        """See `Index`."""
        if entry in self._new or entry in self._matched:
            return
        self.put(entry, tuple(keys), matched=False)
        self._trim(self._new, self._most - len(self._matched))

    def items(self) -> Iterator[tuple[Entry, tuple[bytes, ...], bool]]:
        """Everything that is kept, from old to young: entry, keys and whether it has had a near-copy."""
        yield from ((entry, keys, True) for entry, keys in self._matched.items())
        yield from ((entry, keys, False) for entry, keys in self._new.items())

    def put(self, entry: Entry, keys: tuple[bytes, ...], matched: bool) -> None:
        """Take what `items` gave."""
        (self._matched if matched else self._new)[entry] = keys
        tables = self._entries
        for key in (*keys, entry[0]):
            tables[hash(key) % PARTS][key] = entry

    def _entry(self, key: bytes) -> Entry | None:
        return self._entries[hash(key) % PARTS].get(key)

    def _trim(self, queue: OrderedDict[Entry, tuple[bytes, ...]], most: int) -> None:
        """Take the oldest out. A table keeps the place of what is taken out, so it is made anew now and then."""
        tables, gone = self._entries, self._gone
        while len(queue) > max(1, most):
            entry, keys = queue.popitem(last=False)
            for key in (*keys, entry[0]):
                part = hash(key) % PARTS
                table = tables[part]
                if table.get(key) == entry:
                    del table[key]
                    gone[part] += 1
                    if 2 * gone[part] > len(table):
                        tables[part], gone[part] = dict(table.items()), 0
