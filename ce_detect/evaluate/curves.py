"""What a report's plots show, as numbers: ROC, histograms of scores, calibration of p-values, rates with intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from ce_detect.core.types import Floats
from ce_detect.evaluate.metrics import share_above
from ce_detect.evaluate.report import Report

POINTS = 48
"""Points of a curve, at most."""

BINS = 40

TAIL = 0.005
"""Share of the scores at either end that falls into the outermost bin: few far ones would squeeze the others."""

LEVEL = 0.95
"""Of intervals."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of independent images with its 95 % interval (Wilson 1927).

    Attributes:
        value, low, high: in [0, 1]; NaN where there are no images.
        n: number of images.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Roc:
    """Detection against false alarms; an attack counts where it succeeds.

    Attributes:
        false_positive_rate: ``(points,)`` ascending, over clean images.
        detection_rate: ``(points,)`` by name of the attack.
        mean: ``(points,)`` over the attacks.
        chosen: where in these the calibrated threshold lies; one of the points is its own.
    """

    false_positive_rate: list[float]
    detection_rate: dict[str, list[float]]
    mean: list[float]
    chosen: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many inputs score what.

    Attributes:
        edges: ``(bins + 1,)``; what lies beyond is in the outermost bins.
        clean, natural, attacked: ``(bins,)`` counts; natural ones of all changes, attacked ones of all successes.
    """

    edges: list[float]
    clean: list[int]
    natural: list[int]
    attacked: list[int]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often clean inputs have a p-value of at most so much; as often as it says where all is well.

    Attributes:
        p_value: ``(points,)`` ascending.
        share: ``(points,)`` of the clean images.
    """

    p_value: list[float]
    share: list[Rate]


@dataclass(frozen=True, slots=True)
class Curves:
    """What plots show.

    Attributes:
        roc: None without a successful attack.
        histogram: of scores.
        calibration: of p-values.
        detection: rate of successful attempts that are flagged, by name of the attack.
        false_alarms: rate of clean inputs that are flagged: ``"clean"``, and by name of the natural change.
    """

    roc: Roc | None
    histogram: Histogram
    calibration: Calibration
    detection: dict[str, Rate]
    false_alarms: dict[str, Rate]


def rate(hits: NDArray[np.bool_] | list[bool]) -> Rate:
    """Return the share of ``True`` with its interval."""
    n = len(hits)
    if not n:
        return Rate(float("nan"), float("nan"), float("nan"), 0)
    found = binomtest(int(np.sum(hits)), n)
    ends = found.proportion_ci(LEVEL, method="wilson")
    return Rate(float(found.statistic), float(ends.low), float(ends.high), n)


def curves(report: Report) -> Curves:
    """Return what the plots of a report show."""
    scores, threshold = report.scores, report.threshold
    clean = {"clean": scores.clean, **scores.natural}
    return Curves(
        roc=_roc(scores.clean, {name: found for name, found in scores.attacked.items() if len(found)}, threshold),
        histogram=_histogram(scores.clean, scores.natural.values(), scores.attacked.values(), threshold),
        calibration=_calibration(scores.p_values),
        detection={name: rate(found > threshold) for name, found in scores.attacked.items()},
        false_alarms={name: rate(found > threshold) for name, found in clean.items()},
    )


def _roc(clean: Floats, attacked: dict[str, Floats], threshold: float) -> Roc | None:
    """At the calibrated threshold, and at those that flag so and so many of the clean images."""
    if not attacked:
        return None
    ordered = np.sort(clean)[::-1]
    counts = np.unique(np.append(np.round(np.geomspace(1, len(clean), POINTS - 2)), 0)).astype(int)
    places = {float(ordered[count]) if count < len(clean) else -np.inf for count in counts} | {threshold}
    thresholds = sorted(places, reverse=True)
    rates = {name: [share_above(found, at) for at in thresholds] for name, found in attacked.items()}
    return Roc(
        false_positive_rate=[share_above(clean, at) for at in thresholds],
        detection_rate=rates,
        mean=np.mean(list(rates.values()), axis=0).tolist(),
        chosen=thresholds.index(threshold),
    )


def _histogram(clean: Floats, natural: Iterable[Floats], attacked: Iterable[Floats], threshold: float) -> Histogram:
    """From the smallest to the largest score but for tails, and so far that the threshold is inside."""
    kinds = [clean, *(np.concatenate([clean[:0], *found]) for found in (natural, attacked))]
    low = min(threshold, *(float(np.quantile(found, TAIL)) for found in kinds if len(found)))
    high = max(threshold, *(float(np.quantile(found, 1 - TAIL)) for found in kinds if len(found)))
    around = 0.0 if high > low else 0.5
    edges = np.linspace(low - around, high + around, BINS + 1)
    counts = [np.histogram(found.clip(edges[0], edges[-1]), edges)[0].tolist() for found in kinds]
    return Histogram(edges.tolist(), *counts)


def _calibration(p_values: NDArray[np.float64]) -> Calibration:
    """At p-values that there are, the smallest ones closest together: that is where thresholds lie."""
    there = np.unique(p_values)
    places = np.unique(np.round(np.geomspace(1, len(there), POINTS)).astype(int) - 1)
    return Calibration(there[places].tolist(), [rate(p_values <= at) for at in there[places]])
