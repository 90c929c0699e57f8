"""One stream of verdicts, of all inputs, of one label or of one client, and many of them in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Self

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from ce_detect.monitor.evidence import Bets, Evidence

_Count = Annotated[int, Meta(ge=0)]


class Counts(Struct, frozen=True):
    """What a file keeps of a stream beside its money and hits.

    Attributes:
        scope: of its alarms.
        name: of the label or client.
        seen: inputs that are in the evidence.
        waiting: inputs that are not yet.
        began: see `Stream`.
        alarmed: see `Stream`.
    """

    scope: str
    name: str
    seen: _Count
    waiting: _Count
    began: _Count
    alarmed: _Count | None


QUIET = 1000
"""Inputs of a stream after an alarm during which the next one counts as the same."""

BEGINNING = 1000
"""Part of an alarm's evidence below which a campaign has not begun, as far as one can tell afterwards."""

_LOOKED_AT = 16
"""Streams, those that have been silent for longest, of which one is forgotten."""


@dataclass
class Stream:
    """Evidence of a campaign in one stream.

    Attributes:
        evidence: of it.
        limit: evidence that is an alarm.
        began: inputs before the campaign that the evidence tells of.
        hits: ``(levels,)`` hits since then.
        alarmed: inputs at the last alarm; None before the first.
    """

    evidence: Evidence
    limit: float
    began: int = 0
    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    alarmed: int | None = None

    @classmethod
    def of(cls, bets: Bets, limit: float) -> Self:
        """Before any input."""
        return cls(Evidence.of(bets), limit, hits=np.zeros(len(bets.rates), np.int64))

    @classmethod
    def restored(cls, evidence: Evidence, limit: float, counts: Counts, hits: NDArray[np.int64]) -> Self:
        """As it was kept."""
        return cls(evidence, limit, counts.began, hits.copy(), counts.alarmed)

    def counts(self, scope: str, name: str) -> Counts:
        """For a file."""
        evidence = self.evidence
        return Counts(scope, name, evidence.seen, evidence.waiting, self.began, self.alarmed)

    @property
    def seen(self) -> int:
        """Inputs so far."""
        return self.evidence.seen + self.evidence.waiting

    @property
    def active(self) -> bool:
        """Whether the last alarm is not long ago."""
        return self.alarmed is not None and self.seen - self.alarmed <= QUIET

    def feed(
        self, hits: NDArray[np.bool_], expected: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Take inputs in their order.

        Args:
            hits: ``(batch, levels)``.
            expected: rates that were expected of each input, see `ce_detect.monitor.evidence.Evidence.add`.

        Yields:
            For each alarm, but those that belong to the one before: how many inputs the campaign has lasted for, and
            the hits among them by level.
        """
        evidence, at = self.evidence, 0
        for place in np.flatnonzero(hits.any(1)).tolist():
            evidence.pass_over(place - at)
            at = place + 1
            value = evidence.add(hits[place], None if expected is None else expected[place])
            self.hits += hits[place]
            if value < self.limit / BEGINNING:
                self.began = self.seen
                self.hits[:] = 0
            elif value >= self.limit:
                if not self.active:
                    yield self.seen - self.began, self.hits.copy()
                self.alarmed = self.seen
                evidence.restart()
        evidence.pass_over(len(hits) - at)


class Streams:
    """A stream for each of many names, such as clients; no more than so many.

    A new name takes the place of that one among the longest silent which has the least evidence against it. So whoever
    comes under many names forgets those in the first place, and not what speaks against an attacker.

    Args:
        most: streams at once.
        forgotten: told of each name that gives up its place.
    """

    def __init__(self, most: int, forgotten: Callable[[str], object] = lambda name: None) -> None:
        self._most, self._forgotten = most, forgotten
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[tuple[str, Stream]]:
        return iter(self._streams.items())

    def of(self, name: str, bets: Bets, limit: float) -> Stream:
        """The stream of a name, a new one where it is not known."""
        found = self._streams.get(name)
        if found is None:
            if len(self._streams) >= self._most:
                self._forget()
            found = self._streams[name] = Stream.of(bets, limit)
        else:
            self._streams.move_to_end(name)
        return found

    def put(self, name: str, stream: Stream) -> None:
        """Take a stream that was kept elsewhere."""
        if name not in self._streams and len(self._streams) >= self._most:
            self._forget()
        self._streams[name] = stream

    def _forget(self) -> None:
        silent = islice(self._streams.items(), _LOOKED_AT)
        name, _ = min(silent, key=lambda item: (item[1].active, item[1].evidence.value))
        del self._streams[name]
        self._forgotten(name)
