"""What clean inputs do: how often they are as suspicious as that, at most, for all that a finite calibration can say.

A p-value tells how many of ``n`` clean scores are at least as large as an input's. These scores are few and stay the
same, so that p-values of a long clean stream are neither uniform nor independent of each other: a martingale that takes
them for that alarms on clean traffic sooner or later, with bad luck again and again (arXiv 2602.13848). What does hold
is a bound: the rate at which clean inputs exceed the (r + 1)-th largest of the clean scores is Beta(r + 1, n − r),
whatever the scores are, and it stays below a quantile of that with a known confidence over calibrations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import ArtifactError, UsageError
from ce_detect.monitor.bounds import at_least, beta_quantile, lower_rate, upper_rate
from ce_detect.verdict.policies import ABSTAINED
from ce_detect.verdict.result import GateResult

ERROR = 0.01
"""Probability, over calibrations, that a bound does not hold."""

TAIL = 0.1
"""Share of clean inputs among which a campaign is looked for; the others tell of drift."""

MOST = 10_000_000
"""Clean images of a calibration that are believed."""

BULK = 0.4
"""Share of the others, the more suspicious ones, that drift is told from."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Rates of clean inputs.

    Attributes:
        levels: ``(levels,)`` an input is a hit where its p-value is at most that, from small to large.
        rates: ``(1 + levels,)`` bounds of the rate of clean inputs that are flagged, and of hits at each level.
        known: ``(levels,)`` hits among clean inputs that are known, plus one, and how many there are, plus one.
        bulk: p-values between which an input is a hit of the test for drift, which looks beyond the first of them.
        bulk_known: hits of that test among clean inputs that are known, and how many those are.
        bulk_rates: smallest and largest rate of those among the inputs beyond the first.
        promise: false-alarm rate that the gate promises, for texts.
        by_label: bound of the rate of flags among inputs with one predicted label, where it was measured.
    """

    levels: NDArray[np.float64]
    rates: NDArray[np.float64]
    known: tuple[NDArray[np.int64], int]
    bulk: tuple[float, float]
    bulk_known: tuple[int, int]
    bulk_rates: tuple[float, float]
    promise: float
    by_label: Mapping[int, float]

    @classmethod
    def of(cls, manifest: Mapping[str, Any], *, error: float = ERROR) -> Self:
        """What a gate's own calibration says, see `ce_detect.runtime.Gate.manifest`.

        It holds for inputs as those of the calibration were. Rates by label are not in there: see `measured`.

        Args:
            manifest: of the gate.
            error: probability, over calibrations, that a bound does not hold.

        Raises:
            ArtifactError: the manifest does not say what was promised, or from how many clean images; or nothing that
                can be.
        """
        try:
            fpr, confidence = float(manifest["fpr"]), float(manifest["confidence"])
            marginal, n = manifest["guarantee"] == "marginal", int(manifest["data"]["splits"]["calibrate"])
            _check(fpr, confidence, n)
        except (KeyError, TypeError, ValueError, OverflowError) as error_:
            raise ArtifactError(
                f"the manifest does not say what is promised about clean inputs ({error_!r}); calibrate anew, or use "
                "Reference.measured"
            ) from error_
        flagged = n - threshold_rank(n, fpr, confidence=None if marginal else confidence)
        return cls.of_scores(n, flagged, promise=fpr, error=error)

    @classmethod
    def of_scores(cls, n: int, flagged: int, *, promise: float, error: float = ERROR) -> Self:
        """What ``n`` clean scores say, of which ``flagged`` lie above the threshold.

        Raises:
            UsageError: numbers that make no sense.
        """
        if not 0 <= flagged < n or not 0 < error < 1 or not 0 < promise < 1:
            raise UsageError(
                f"n = {n}, flagged = {flagged}, error = {error}, promise = {promise}: expected 0 <= flagged < n, and "
                "error and promise between 0 and 1"
            )
        ranks = np.array(_ranks(n))
        share = error / (len(ranks) + 3)  # of flagged, of each level and of both sides of the bulk
        tail, middle = int(ranks[-1]), _middle(n)
        both = beta_quantile(share, middle - tail, n - middle), beta_quantile(1 - share, middle - tail, n - middle)
        return cls(
            levels=_p_value(ranks, n), rates=_bounds([flagged, *ranks.tolist()], n, share), known=(ranks + 1, n + 1),
            bulk=(_p_value(tail, n), _p_value(middle, n)), bulk_known=(middle - tail, n - tail), bulk_rates=both,
            promise=promise, by_label={},
        )  # fmt: skip

    @classmethod
    def measured(cls, clean: GateResult, n: int, *, promise: float, error: float = ERROR) -> Self:
        """What verdicts on known clean inputs say, which had no part in the calibration: of this very traffic.

        Give as many as you can, with all the natural change that they meet. Labels that are rare among them get loose
        bounds.

        Args:
            clean: verdicts.
            n: clean scores that the p-values were made from.
            promise: false-alarm rate that the gate promises, for texts.
            error: probability that a bound does not hold.

        Raises:
            UsageError: there are none.
        """
        p_values, flags, labels = _columns(clean)
        count = len(p_values)
        if not count:
            raise UsageError("no clean verdicts, expected some hundred at least")
        ordered, step = np.sort(p_values), 0.5 / (n + 1)
        cuts = {float(ordered[rank]): rank for rank in reversed(_ranks(count)) if ordered[rank] > 2.5 * step}
        levels, ranks = np.array(sorted(cuts)) - step, np.array([cuts[cut] for cut in sorted(cuts)], np.int64)
        share, kinds = error / 2 / (len(levels) + 3), sorted({int(label) for label in labels})
        bulk = _p_value(_ranks(n)[-1], n), _p_value(_middle(n), n)
        beyond = p_values[p_values > bulk[0]]
        found = (int(np.count_nonzero(beyond <= bulk[1])), len(beyond))
        return cls(
            levels=levels, known=(ranks + 1, count + 1),
            rates=np.append(upper_rate(int(flags.sum()), count, share), _bounds(ranks.tolist(), count, share)),
            bulk=bulk, bulk_known=(max(1, found[0]), max(2, found[1])), promise=promise,
            bulk_rates=(lower_rate(*found, share), upper_rate(*found, share)),
            by_label={label: _flag_rate(flags[labels == label], error / 2 / len(kinds)) for label in kinds},
        )  # fmt: skip

    def hits(self, result: GateResult) -> NDArray[np.bool_]:
        """Whether each input is flagged, and a hit at each level: ``(batch, 1 + levels)``."""
        return hits_of(np.asarray(result.is_adversarial), np.asarray(result.p_value, np.float64), self.levels)


def _check(fpr: float, confidence: float, n: int) -> None:
    if not (0 < fpr < 1 and 0 < confidence < 1 and 0 < n <= MOST):
        raise ValueError(f"fpr = {fpr}, confidence = {confidence}, {n} clean images")


def hits_of(flagged: NDArray[Any], p_values: NDArray[Any], levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Columns of a flag and of each level, see `Reference.hits`."""
    return np.column_stack([flagged, p_values[:, None] <= levels])


def _columns(result: GateResult) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[Any]]:
    return np.asarray(result.p_value, np.float64), np.asarray(result.is_adversarial), predicted(result)


def predicted(result: GateResult) -> NDArray[Any]:
    """Labels that the classifier gave, ``(batch,)``, also where the gate abstained, which it does on flagged inputs."""
    labels, logits = np.asarray(result.label), np.asarray(result.logits)
    return labels if logits.ndim != 2 else np.where(labels == ABSTAINED, logits.argmax(axis=1), labels)


def _bounds(ranks: list[int], n: int, error: float) -> NDArray[np.float64]:
    """Largest rates above the clean scores of these ranks, from the largest score on."""
    return np.array([beta_quantile(1 - error, rank + 1, n - rank) for rank in ranks])


def _flag_rate(flags: NDArray[np.bool_], error: float) -> float:
    return upper_rate(int(flags.sum()), len(flags), error)


def _ranks(n: int) -> list[int]:
    """Clean scores that may lie above an input that is a hit, by level: none, and twice as many each time."""
    largest = max(0, math.floor(TAIL * (n + 1)) - 1)
    ranks = [0]
    while 2 * ranks[-1] + 1 < largest:
        ranks.append(2 * ranks[-1] + 1)
    return ranks if largest == ranks[-1] else [*ranks, largest]


def _p_value(rank: Any, n: int) -> Any:
    """The largest p-value that so many clean scores allow, half a step above (r + 1) / (n + 1) for rounding."""
    return (rank + 1.5) / (n + 1)


def _middle(n: int) -> int:
    """Rank up to which an input beyond the last level counts as one of the more suspicious."""
    tail = _ranks(n)[-1]
    return tail + max(1, round(BULK * (n - tail)))


def threshold_rank(n: int, fpr: float, *, confidence: float | None) -> int:
    """Rank of the clean score that set the threshold, as `ce_detect.verdict.conformal.rank` has it, without SciPy."""
    if confidence is None:
        return min(n, math.ceil((n + 1) * (1 - fpr) - 1e-9))
    low, high = -1, n  # the most scores above the threshold with which the promise holds
    while high - low > 1:
        above = (low + high) // 2
        holds = at_least(above + 1, n, fpr) >= confidence - 1e-9  # Beta(above + 1, n - above) <= fpr
        low, high = (above, high) if holds else (low, above)
    return n - max(low, 0)
