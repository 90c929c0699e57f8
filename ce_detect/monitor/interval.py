"""The present false-alarm rate, from inputs that people have reviewed, with an interval that holds at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ce_detect.core.errors import UsageError

BLOCK = 1000
"""Reviewed inputs after which the estimate begins anew: it is to tell of the present."""

_PRIOR = 0.5


@dataclass
class FalseAlarmRate:
    """A running estimate with a betting confidence sequence.

    A bettor who mixes all strategies as Krichevsky and Trofimov do has money ``B(s + ½, f + ½) / B(½, ½) / q^s(1 −
    q)^f`` after ``s`` false alarms among ``s + f`` clean inputs, if the rate is ``q``; the interval holds those rates
    against which he has not won ``1/error`` (Waudby-Smith, Ramdas 2023, section 4; arXiv 2010.09686). Whoever looks
    after every review still finds the true rate outside with probability ``error`` at most, in each block of `BLOCK`
    reviews.

    Attributes:
        error: probability that the interval ever misses the rate.
        flagged: clean inputs of this block that were flagged.
        clean: clean inputs of this block.
        before: the same counts of the block before.

    Raises:
        UsageError: a probability or counts that cannot be.
    """

    error: float = 0.05
    flagged: int = 0
    clean: int = 0
    before: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        _check(self.flagged, self.clean)
        _check(*self.before)
        if not 0 < self.error < 1:
            raise UsageError(f"error = {self.error}, expected between 0 and 1")

    def add(self, flagged: int, clean: int) -> None:
        """Take reviewed inputs that turned out to be clean.

        Args:
            flagged: how many of them had been flagged.
            clean: how many there are. Where only flagged inputs are reviewed, count those that passed as clean.

        Raises:
            UsageError: more flagged than there are.
        """
        _check(flagged, clean)
        self.flagged += flagged
        self.clean += clean
        if self.clean >= BLOCK:
            self.before, self.flagged, self.clean = (self.flagged, self.clean), 0, 0

    @property
    def counts(self) -> tuple[int, int]:
        """Flagged and clean inputs of the estimate: this block's, or until it is half full those of the one before."""
        return (self.flagged, self.clean) if self.clean * 2 >= BLOCK or not self.before[1] else self.before

    @property
    def estimate(self) -> float | None:
        """The rate; None before the first review."""
        flagged, clean = self.counts
        return flagged / clean if clean else None

    @property
    def interval(self) -> tuple[float, float]:
        """Smallest and largest rate that the reviews allow."""
        flagged, clean = self.counts
        if not clean:
            return 0.0, 1.0
        middle = flagged / clean
        return self._edge(0.0, middle), self._edge(1.0, middle)

    def _edge(self, outside: float, inside: float) -> float:
        """Where the money reaches its limit, between a rate that is refused and the estimate; by halving."""
        if self._money(outside) <= math.log(1 / self.error):
            return outside
        for _ in range(50):
            middle = (outside + inside) / 2
            if self._money(middle) > math.log(1 / self.error):
                outside = middle
            else:
                inside = middle
        return outside

    def _money(self, rate: float) -> float:
        """Logarithm of the bettor's money against a rate."""
        hits, misses = self.counts[0], self.counts[1] - self.counts[0]
        if (rate <= 0 and hits) or (rate >= 1 and misses):
            return math.inf
        paid = (hits * math.log(rate) if hits else 0.0) + (misses * math.log1p(-rate) if misses else 0.0)
        return _log_beta(hits + _PRIOR, misses + _PRIOR) - _log_beta(_PRIOR, _PRIOR) - paid


def _check(flagged: int, clean: int) -> None:
    if not 0 <= flagged <= clean:
        raise UsageError(f"{flagged} flagged of {clean} clean inputs: expected at most as many as there are")


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
