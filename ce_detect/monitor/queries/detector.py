"""The stateful detector: which client sends near-copies, or steps through pixel space as an attack does."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError, UsageError
from ce_detect.core.types import Bounds, Floats
from ce_detect.monitor.alarms import Alarm, of_whom
from ce_detect.monitor.bounds import upper_rate
from ce_detect.monitor.evidence import Bets
from ce_detect.monitor.queries.index import Index, MemoryIndex
from ce_detect.monitor.queries.sketch import NUMBERS, Sketcher
from ce_detect.monitor.streams import Stream, Streams

BINS = np.linspace(-1, 1, 21)
"""Edges of the histogram of cosine similarities."""

_NEAR, _FLIP = 0, 1
_ERROR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """What is normal, and how much is kept.

    Attributes:
        near_duplicates: largest share of a client's inputs that are near-copies of earlier ones. Exact copies count
            neither as these nor as inputs. Near 1 where clients send video.
        flips: largest share that are near-copies with another label. Decision-based attacks walk along the boundary
            between two labels; what a still camera sees does not.
        radius: how near is near, see `ce_detect.monitor.queries.sketch.Sketcher`.
        inputs: fingerprints that are kept in memory.
        clients: clients that are kept apart at once.
        false_alarms: per million inputs, on average, of clients whose shares are as said.

    Raises:
        UsageError: a number that makes no sense.
    """

    near_duplicates: float = 0.05
    flips: float = 0.02
    radius: float = 0.04
    inputs: int = 20_000
    clients: int = 10_000
    false_alarms: float = 1.0

    def __post_init__(self) -> None:
        shares = {"near_duplicates": self.near_duplicates, "flips": self.flips, "radius": self.radius}
        for name, value in shares.items():
            if not 0 < value < 1:
                raise UsageError(f"{name} = {value}, expected a share between 0 and 1")
        if min(self.inputs, self.clients) < 2 or not 0 < self.false_alarms <= 1e5:
            raise UsageError(
                f"inputs = {self.inputs}, clients = {self.clients}, false_alarms = {self.false_alarms}: expected at "
                "least 2, at least 2, and between 0 and 1e5"
            )


class QueryDetector:
    """Looks at inputs as they come; for one thread. No input is kept, only keyed hashes and a sketch of the last two.

    Two signals. Near-copies of an earlier input of any client, told by fingerprints (after Blacklight, USENIX Security
    2022), with or without another label. And, where the habits of natural inputs are known (`learn_habits`), the
    cosine similarities of the differences between consecutive inputs of a client, as a histogram (GWAD, arXiv
    2503.02986): whoever tries directions around one point has one that natural inputs do not have, also where no two of
    his inputs are near.

    Attributes:
        settings: see there.
        sketcher: makes fingerprints.
        index: those of earlier inputs.
        overall: evidence over all clients together, from near-copies alone.
        clients: evidence by client.

    Args:
        values: of one input, channels times height times width.
        bounds: smallest and largest value of a pixel.
        settings: see there.
        salt: secret of at most 64 bytes; a new one by default.
        index: where fingerprints are kept; by default in memory.

    Raises:
        UsageError: the salt is empty or too long.
    """

    def __init__(
        self,
        values: int,
        bounds: Bounds,
        settings: QuerySettings | None = None,
        *,
        salt: bytes | None = None,
        index: Index | None = None,
    ) -> None:
        salt = secrets.token_bytes(32) if salt is None else salt
        if not 0 < len(salt) <= 64:
            raise UsageError(f"a salt of {len(salt)} bytes, expected 1 to 64")
        self.settings = settings or QuerySettings()
        self.sketcher = Sketcher(salt, values, bounds, self.settings.radius)
        self.index = MemoryIndex(self.settings.inputs) if index is None else index
        self._rates = np.array([self.settings.near_duplicates, self.settings.flips])
        self._limit = 2e6 / self.settings.false_alarms  # half for all together, half for clients
        self.bets = Bets(self._rates)
        self._last: dict[str, Floats] = {}
        self.overall, self.clients = Stream.of(self.bets, self._limit), self._no_clients()
        self.client_bets = self.bets

    def learn_habits(self, x: NDArray[Any] | Iterable[NDArray[Any]]) -> None:
        """Learn what differences between consecutive natural inputs are like; before anything is observed.

        Args:
            x: natural inputs, in an order in which a client may send them; some thousand are best. Or parts of them,
                one after the other, as all together may need gibibytes.

        Raises:
            UsageError: fewer than a hundred.
        """
        parts = [self.sketcher.sketches(part) for part in ([x] if isinstance(x, np.ndarray) else x)]
        if (count := sum(map(len, parts))) < 100:
            raise UsageError(f"{count} natural inputs, expected a hundred at least, better some thousand")
        cosines = _cosines(np.concatenate(parts))
        counts = np.histogram(cosines, BINS)[0]
        error = _ERROR / len(counts)
        rates = [upper_rate(int(count), len(cosines), error) for count in counts]
        self.client_bets = Bets(np.concatenate([self._rates, rates]))
        self.clients = self._no_clients()

    def observe(self, x: NDArray[Any], labels: NDArray[Any], client: str | Sequence[str] = "") -> list[Alarm]:
        """Take inputs in their order.

        Args:
            x: ``(batch, ...)`` as the gate takes them.
            labels: ``(batch,)`` that were answered, before any policy.
            client: who sent them, for all or for each.

        Returns:
            New alarms.

        Raises:
            InputError: inputs of another size; as many labels and clients as inputs were expected.
        """
        names = [client] * len(x) if isinstance(client, str) else client
        if not len(x) == len(labels) == len(names):
            told = f"{len(labels)} labels and {len(names)} clients for {len(x)} inputs"
            raise InputError(f"{told}, expected one for each")
        sketches = self.sketcher.sketches(x)
        prints, answered = self.sketcher.fingerprints(sketches, self.sketcher.sums(x)), np.asarray(labels).tolist()
        alarms = []
        for sketch, keys, label, name in zip(sketches, prints, answered, names, strict=True):
            near = self._near(keys, int(label))
            if near is None:  # or whoever repeats each query, as libraries do, would look half as suspicious
                continue
            stream = self.clients.of(name, self.client_bets, self._limit)
            if len(self.client_bets.rates) == len(near) and not any(near):  # as nearly all are
                self.overall.evidence.pass_over(1)
                stream.evidence.pass_over(1)
                continue
            hits = np.array(near)
            alarms += self._fed("overall", "", self.overall, hits)
            alarms += self._fed("client", name, stream, self._with_habits(hits, sketch, name))
        return alarms

    def near(self, x: NDArray[Any], label: int) -> NDArray[np.bool_]:
        """Look an input up and keep its fingerprint.

        Args:
            x: one input ``(1, ...)``.
            label: that was answered.

        Returns:
            Whether there was a near-copy that is no exact one, and whether its label was another: ``(2,)``.
        """
        (keys,) = self.sketcher.fingerprints(self.sketcher.sketches(x), self.sketcher.sums(x))
        return np.array(self._near(keys, label) or (False, False))

    def _near(self, hashes: list[bytes], label: int) -> tuple[bool, bool] | None:
        """Whether there was a near-copy, and with another label; None for an exact copy, which says nothing."""
        *keys, whole = hashes
        found = self.index.nearest(keys, whole)
        self.index.add(keys, (whole, label))
        if found is None:
            return False, False
        return None if found[0] == whole else (True, found[1] != label)

    def _with_habits(self, near: NDArray[np.bool_], sketch: Floats, name: str) -> NDArray[np.bool_]:
        """The same, and in which bin the cosine similarity of the last two differences lies."""
        if len(self.client_bets.rates) == len(near):
            return near
        hits = np.zeros(len(self.client_bets.rates), bool)
        hits[: len(near)] = near
        before = self._last.get(name, np.zeros((0, NUMBERS), np.float32))
        kept = np.vstack([before, sketch])[-3:]
        if len(kept) == 3 and len(cosines := _cosines(kept)):
            hits[len(near) :] = np.histogram(cosines, BINS)[0] > 0
        if not len(before) or not np.array_equal(before[-1], sketch):  # an exact copy is no step
            self._last[name] = kept[-2:]
        return hits

    def _no_clients(self) -> Streams:
        """Streams whose sketches go with them: what speaks against a client is not flushed by a flood of names."""
        return Streams(self.settings.clients, self._forgotten)

    def _forgotten(self, name: str) -> None:
        self._last.pop(name, None)

    def _fed(self, scope: Any, name: str, stream: Stream, hits: NDArray[np.bool_]) -> list[Alarm]:
        return [
            Alarm("queries", scope, name, stream.seen, self._text(of_whom(scope, name), lasted, found))
            for lasted, found in stream.feed(hits[None])
        ]

    def _text(self, whom: str, lasted: int, found: NDArray[np.int64]) -> str:
        if found[_NEAR] > min(0.5, 2 * self.settings.near_duplicates) * lasted:
            seen = (
                f"{found[_NEAR]} of the last {lasted} inputs are near-copies of earlier ones, {found[_FLIP]} of them "
                "with another label"
            )
        else:
            seen = f"the last {lasted} inputs differ from each other as steps of a search do"
        return f"Query attack by {whom}: {seen}. Limit or block the queries; look at what they have in common."


def _cosines(sketches: Floats) -> Floats:
    """Cosine similarities of consecutive differences; those of copies are left out."""
    steps = np.diff(sketches, axis=0)
    sizes = np.linalg.norm(steps, axis=1)
    steps, sizes = steps[sizes > 0], sizes[sizes > 0]
    return np.asarray(np.clip((steps[1:] * steps[:-1]).sum(1) / (sizes[1:] * sizes[:-1]), -1, 1))
