"""Tests that people put on a stream of verdicts today, beside the monitor; each gives the places of its alarms.

Every test begins anew after an alarm, and each has one limit, which is what false alarms are traded against delay by.
What else is to be chosen, such as the size of a window, is the design.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.campaigns.streams import Traffic
from benchmarks.face import Bets, Expected, Stream, hits_of

Flags, PValues = NDArray[np.bool_], NDArray[np.float64]
LOOKS = 10
"""Times that a window of p-values is looked at while it moves by its own length."""


def monitor(traffic: Traffic, flags: Flags, p_values: PValues, limit: float, *, bets: Bets) -> list[int]:
    """Places of the monitor's alarms, with these bets on what the traffic's reference knows."""
    hits = hits_of(flags, p_values, traffic.reference.levels)[:, : len(bets.rates)]
    expected = Expected(*traffic.reference.known).before(hits[:, 1:]) if bets.expected else None
    stream, found = Stream.of(bets, limit), []
    for place in np.flatnonzero(hits.any(1)).tolist():
        stream.evidence.pass_over(place - stream.seen)
        if stream.evidence.add(hits[place], None if expected is None else expected[place]) >= limit:
            stream.evidence.restart()
            found.append(place)
    return found


def cusum(flags: Flags, limit: float, *, rate: float, factor: float) -> list[int]:
    """CUSUM on flags, for a rise from a rate to so many times that."""
    hit, miss = np.log(factor), np.log((1 - factor * rate) / (1 - rate))
    places, at, value, found = np.flatnonzero(flags).tolist(), -1, 0.0, []
    for place in places:
        value = max(0.0, value + (place - at - 1) * miss) + hit
        at = place
        if value >= limit:
            found.append(place)
            value = 0.0
    return found


def window(flags: Flags, limit: float, *, size: int) -> list[int]:
    """Flags among so many of the last inputs, looked at after each input."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    counts = sums[size:] - sums[:-size]
    return _separate(np.flatnonzero(counts >= limit) + size - 1, size)


def kolmogorov_smirnov(p_values: PValues, limit: float, *, size: int) -> list[int]:
    """Largest distance of the distribution of so many of the last p-values from the uniform one, now and then."""
    steps = np.arange(1, size + 1) / size
    found = []
    for stop in range(size, len(p_values) + 1, size // LOOKS):
        distance = float((steps - np.sort(p_values[stop - size : stop])).max())
        if distance >= limit:
            found.append(stop - 1)
    return _separate(np.array(found, np.int64), size)


def _separate(places: NDArray[np.int64], size: int) -> list[int]:
    """Alarms whose windows share no input: the window begins anew."""
    found: list[int] = []
    for place in places.tolist():
        if not found or place >= found[-1] + size:
            found.append(place)
    return found
