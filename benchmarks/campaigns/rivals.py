"""Tests that people put on a stream of verdicts today, beside the monitor; each gives the places of its alarms.

Every test begins anew after an alarm, and each has one limit, which is what false alarms are traded against delay by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.campaigns.streams import FPR, Traffic
from benchmarks.face import Bets, Expected, Stream, hits_of

Flags, PValues = NDArray[np.bool_], NDArray[np.float64]
WINDOW, STEP = 1000, 100


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


def cusum(flags: Flags, limit: float, *, factor: float = 3.0) -> list[int]:
    """CUSUM on flags, for a rise of the rate from the promised one to so many times that."""
    hit, miss = np.log(factor), np.log((1 - factor * FPR) / (1 - FPR))
    places, at, value, found = np.flatnonzero(flags).tolist(), -1, 0.0, []
    for place in places:
        value = max(0.0, value + (place - at - 1) * miss) + hit
        at = place
        if value >= limit:
            found.append(place)
            value = 0.0
    return found


def window(flags: Flags, limit: float) -> list[int]:
    """Flags among the last `WINDOW` inputs, looked at after each input."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    counts = sums[WINDOW:] - sums[:-WINDOW]
    return _separate(np.flatnonzero(counts >= limit) + WINDOW - 1)


def kolmogorov_smirnov(p_values: PValues, limit: float) -> list[int]:
    """Largest distance of the distribution of the last `WINDOW` p-values from the uniform one, every `STEP` inputs."""
    steps = np.arange(1, WINDOW + 1) / WINDOW
    found = []
    for stop in range(WINDOW, len(p_values) + 1, STEP):
        distance = float((steps - np.sort(p_values[stop - WINDOW : stop])).max())
        if distance >= limit:
            found.append(stop - 1)
    return _separate(np.array(found, np.int64))


def _separate(places: NDArray[np.int64]) -> list[int]:
    """Alarms whose windows share no input: the window begins anew."""
    found: list[int] = []
    for place in places.tolist():
        if not found or place >= found[-1] + WINDOW:
            found.append(place)
    return found
