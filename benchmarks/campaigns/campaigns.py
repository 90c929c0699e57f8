"""False alarms per million clean inputs, and inputs until a campaign is seen: the monitor beside what people use today.

    CE_DETECT_DATA=... python -m benchmarks.campaigns.campaigns

Streams are drawn from the real scores of ``results/scores.npz``, for calibrations that are drawn from them, too: what a
calibration does not know is as much part of it as in life. The monitor is asked for at most ten false alarms per
million inputs. The other tests promise nothing, so each gets the lowest limit that gives ten per million on average
over the very streams that it is judged on: an advantage that nobody has in practice. Two get, once more, the lowest
limit that keeps the promise for each calibration. Writes ``results/campaigns.json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.campaigns import rivals
from benchmarks.campaigns.scores import RESULT as SCORES
from benchmarks.campaigns.streams import Pools, Traffic, parts
from benchmarks.face import Bets, Drift
from benchmarks.machine import processor
from benchmarks.program import parser, read, write

RESULT = Path(__file__).parent / "results" / "campaigns.json"
PROMISED = 10.0
"""False alarms per million inputs."""

LIMIT = 1e6 / PROMISED
BEFORE, LONGEST = 20_000, 200_000
"""Clean inputs before a campaign, and inputs of it after which a test has missed it."""

CAMPAIGNS = [(share, bursts) for share in (0.05, 0.01, 0.005, 0.001) for bursts in (False, True)]
DRIFTS = (("natural", 0.25), ("natural", 1.0), ("darker", 1.0))

EACH = ", for each calibration"
"""Tests whose limit keeps the promise for the worst calibration, too."""

Alarms = Callable[[Traffic, Any, Any], list[int]]


def claimed(traffic: Traffic) -> Bets:
    """Rates that p-values claim, as if the clean scores were all there are."""
    n = len(traffic.clean)
    return Bets(np.array([(traffic.flagged + 1) / (n + 1), *traffic.reference.levels]))


def both(traffic: Traffic) -> Bets:
    """What the monitor does: bounds, and the rate that is expected after all that came."""
    return Bets(traffic.reference.rates, expected=len(traffic.reference.levels))


def candidates() -> dict[str, tuple[Callable[[float], Alarms], Any]]:
    """Each test with its limits, from low to high; a limit of None is promised and not chosen."""
    cusum = (lambda limit: lambda t, f, p: rivals.cusum(f, limit)), np.arange(1, 40, 0.5)
    window = (lambda limit: lambda t, f, p: rivals.window(f, limit)), np.arange(2, 60, 1.0)

    def promised(bets: Callable[[Traffic], Bets]) -> tuple[Callable[[float], Alarms], Any]:
        return lambda _: lambda t, f, p: rivals.monitor(t, f, p, LIMIT, bets=bets(t)), None

    return {
        "monitor": promised(both),
        "monitor, bounds alone": promised(lambda t: Bets(t.reference.rates)),
        "monitor, bound of flags alone": promised(lambda t: Bets(t.reference.rates[:1])),
        "plain martingale": promised(claimed),
        "CUSUM on flags": cusum, f"CUSUM on flags{EACH}": cusum,
        "binomial window": window, f"binomial window{EACH}": window,
        "Kolmogorov-Smirnov": (
            lambda limit: lambda t, f, p: rivals.kolmogorov_smirnov(p, limit), np.arange(0.02, 0.4, 0.01)),
    }  # fmt: skip


def clean_streams(pools: Pools, n: int, asked: Any) -> list[tuple[Traffic, Any, Any]]:
    """A clean stream for each calibration."""
    found = []
    for seed in range(asked.calibrations):
        traffic = Traffic(pools, n, seed)
        judged = [traffic.judged(traffic.scores(size)) for size in parts(asked.inputs // asked.calibrations)]
        found.append((traffic, *(np.concatenate(column) for column in zip(*judged, strict=True))))
    return found


def tuned(
    make: Callable[[float], Alarms], limits: Any, streams: list[tuple[Traffic, Any, Any]], *, worst: bool = False
) -> tuple[Any, list[int]]:
    """The lowest limit that gives as few false alarms as are promised, and how many each stream has.

    Args:
        make: a test, from its limit.
        limits: from low to high.
        streams: clean ones.
        worst: whether the promise is to hold for each calibration, and not on average alone.
    """
    million = sum(len(flags) for _, flags, _ in streams) / 1e6
    if limits is None:
        return None, [len(make(0.0)(*stream)) for stream in streams]
    low, high = -1, len(limits) - 1
    counts: list[int] = []
    while high - low > 1:
        middle = (low + high) // 2
        found = [len(make(limits[middle])(*stream)) for stream in streams]
        bad = max(found) * len(found) if worst else sum(found)
        low, high, counts = (low, middle, found) if bad <= PROMISED * million else (middle, high, counts)
    return float(limits[high]), counts or [len(make(limits[high])(*stream)) for stream in streams]


def delay(alarms: Alarms, traffic: Traffic, share: float, bursts: bool) -> int:
    """Inputs from the beginning of a campaign to the first alarm in it; `LONGEST` where there is none."""
    scores = np.concatenate([traffic.scores(BEFORE), traffic.scores(LONGEST, attacked=share, bursts=bursts)])
    flags, p_values = traffic.judged(scores)
    for end in (BEFORE + 5000, len(scores)):  # most are over soon
        places = [place for place in alarms(traffic, flags[:end], p_values[:end]) if place >= BEFORE]
        if places:
            return places[0] - BEFORE + 1
    return LONGEST


def drifted(traffic: Traffic, pool: str, share: float) -> dict[str, Any]:
    """What the monitor says first of benign drift: inputs until it says drift, and whether it says campaign before."""
    flags, p_values = traffic.judged(traffic.scores(LONGEST, pool=pool, share=share))
    drift = Drift.of(traffic.reference, LIMIT, "rate")
    campaigns = rivals.monitor(traffic, flags, p_values, LIMIT, bets=both(traffic))
    ends = range(100, LONGEST + 1, 100)
    told = next((end for end in ends if drift.feed(p_values[end - 100 : end], traffic.reference)), None)
    first = campaigns[0] if campaigns else None
    suspected = Drift.of(traffic.reference, LIMIT, "rate")
    if first is not None:
        suspected.feed(p_values[:first], traffic.reference)
    return {
        "drift": told,
        "campaign": first,
        "named drift": first is None or suspected.suspected or (told or LONGEST) < first,
    }


def row(name: str, pools: Pools, n: int, streams: list[tuple[Traffic, Any, Any]]) -> dict[str, Any]:
    """What one test does."""
    make, limits = candidates()[name]
    began = time.process_time()
    limit, counts = tuned(make, limits, streams, worst=name.endswith(EACH))
    seconds = time.process_time() - began
    alarms, each = make(limit or 0.0), len(streams[0][1]) / 1e6
    delays = {}
    for share, bursts in CAMPAIGNS:
        found = [delay(alarms, Traffic(pools, n, 1000 + seed), share, bursts) for seed in range(len(streams))]
        median, late = np.percentile(found, [50, 90]).astype(int).tolist()
        missed = sum(inputs >= LONGEST for inputs in found) / len(found)
        delays[f"{share:.1%}{' in bursts' if bursts else ''}"] = {"median": median, "p90": late, "missed": missed}
    return {
        "test": name, "clean scores": n, "limit": limit, "inputs": round(each * len(streams) * 1e6),
        "calibrations": len(streams), "false alarms per million": round(sum(counts) / each / len(counts), 3),
        "of the worst calibration": round(max(counts) / each, 3),
        "calibrations above the promise": sum(count / each > PROMISED for count in counts) / len(counts),
        "microseconds per input": None if limits is not None else round(seconds / each / len(streams), 3),
        "delays": delays,
    }  # fmt: skip


def drift_row(pools: Pools, n: int, pool: str, share: float, calibrations: int) -> dict[str, Any]:
    """What the monitor says of benign drift."""
    runs = [drifted(Traffic(pools, n, 2000 + seed), pool, share) for seed in range(calibrations)]
    return {
        "pool": pool, "share": share, "clean scores": n,
        "median until drift is told": int(np.median([run["drift"] or LONGEST for run in runs])),
        "told": sum(run["drift"] is not None for run in runs) / len(runs),
        "campaign alarm": sum(run["campaign"] is not None for run in runs) / len(runs),
        "named drift": sum(run["named drift"] for run in runs) / len(runs),
    }  # fmt: skip


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--inputs", type=int, default=10_000_000, help="clean inputs of each test, in all")
    options.add_argument("--calibrations", type=int, default=20)
    options.add_argument("--sizes", type=int, nargs="+", default=[840], help="clean scores of a calibration")
    options.add_argument("--again", action="store_true", help="also what is in the results already")
    asked = options.parse_args()
    pools = Pools.read(SCORES)
    found: dict[str, Any] = read(RESULT) if RESULT.exists() and not asked.again else {"rows": [], "drift": []}
    found |= {"processor": processor(), "promised per million": PROMISED, "longest": LONGEST}
    for n in asked.sizes:
        done = {(one["test"], one["clean scores"]) for one in found["rows"]}
        left = [name for name in candidates() if (name, n) not in done]
        streams = clean_streams(pools, n, asked) if left else []
        for name in left:
            found["rows"].append(row(name, pools, n, streams))
            print(found["rows"][-1], flush=True)
            write(RESULT, found)
        drifts = {(one["pool"], one["share"], one["clean scores"]) for one in found["drift"]}
        for pool, share in DRIFTS:
            if (pool, share, n) not in drifts:
                found["drift"].append(drift_row(pools, n, pool, share, asked.calibrations))
                print(found["drift"][-1], flush=True)
                write(RESULT, found)


if __name__ == "__main__":
    main()
