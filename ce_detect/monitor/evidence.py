"""Evidence that a rate is larger than it should be, valid at any time and however long one looks.

Of each input it is asked whether it is a hit, at several levels at once. Where the rate of hits at a level is at most
``q``, a bet of the size ``λ`` in [0, 1/q) multiplies money by ``1 + λ(hit − q)``, which gains nothing on average: a
test supermartingale. A new bet is opened at every input, with money ``w``, since nobody knows when a campaign begins.
The sum ``R ← (R + w)(1 + λ(hit − q))``, averaged over levels and sizes, is an e-detector in the form of Shiryaev and
Roberts (Shin, Ramdas, Rinaldo 2023, arXiv 2203.03532): it exceeds what was paid in by nothing on average. So, with an
alarm where it reaches ``1/α``, after which it starts from nothing:

- ``w = 1``: at most ``α`` alarms an input on average, for ever;
- ``w`` that sum to 1 over an endless stream: at most ``α`` alarms in all on average, so none at all with probability
  ``1 − α`` (Ville's inequality). The price is a later alarm.

Two rates ``q`` can be had. A *bound*, above which the true rate is not: whatever the stream does, the promise holds for
nearly every calibration. Or the rate that is *expected* of the next input after all that came before, calibration and
stream, when clean inputs come in any order: the hits among ``n`` clean scores and ``t`` inputs, plus one, over
``n + t + 1`` (Pólya's urn). That one is exact on average over calibrations, and tightens while clean inputs come; but
it gets used to an attack that was there from the beginning. With both, evidence is the mean of the two.

Inputs that hit at no level are counted, and enter by a closed form with the next that does, as a miss multiplies by
``1 − λq`` whatever the rate: most inputs cost an addition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

Form = Literal["rate", "ever"]
"""What is promised of false alarms: so many per million inputs, or a probability over an endless stream."""

Values = NDArray[np.float64]

_PARTS = np.geomspace(0.001, 0.8, 8)
"""Sizes of bets as parts of the largest one, 1/q: from timid to bold, as nobody knows how large an attack is."""

_MISS = 1 - _PARTS


@dataclass(frozen=True, eq=False)
class Bets:
    """What is bet on: levels and sizes.

    Attributes:
        rates: ``(levels,)`` bound of the rate of hits, in (0, 1].
        form: see `Form`.
        expected: how many of the levels, the last ones, are also bet on with the rate that is expected.
    """

    rates: Values
    form: Form = "rate"
    expected: int = 0

    @cached_property
    def hit(self) -> Values:
        """``(levels, sizes)`` factor where an input is a hit, with the bound."""
        return _hit(self.rates)

    @property
    def miss(self) -> Values:
        """``(sizes,)`` factor where it is none."""
        return _MISS

    def blank(self) -> Values:
        """``(levels + expected, sizes)`` money before any input."""
        return np.zeros((len(self.rates) + self.expected, len(_PARTS)))

    def factors(self, hits: NDArray[np.bool_], expected: Values | None) -> Values:
        """What an input multiplies money by.

        Args:
            hits: ``(levels,)``.
            expected: rates that are expected, ``(expected,)``.
        """
        if expected is None:
            return np.where(hits[:, None], self.hit, _MISS)
        both = np.concatenate([hits, hits[len(hits) - self.expected :]])
        return np.where(both[:, None], np.concatenate([self.hit, _hit(expected)]), _MISS)

    def paid(self, seen: int, count: int) -> list[tuple[int, float]]:
        """Money that is paid in with each of the inputs after the first ``seen``, as runs of one amount."""
        if self.form == "rate":
            return [(count, 1.0)]
        runs, end = [], seen + count
        while seen < end:
            block = (seen + 1).bit_length() - 1  # input t = 1, 2, … is in block b of length 2^b
            stop = min(end, (2 << block) - 1)
            runs.append((stop - seen, 1 / ((block + 1) * (block + 2) * 2**block)))
            seen = stop
        return runs


def _hit(rates: Values) -> Values:
    """1 + λ(1 − q) with λ a part of 1/q."""
    return np.asarray(1 + _PARTS * (1 / rates[:, None] - 1))


@dataclass
class Evidence:
    """One stream's evidence.

    Attributes:
        bets: what is bet on.
        money: ``(levels + expected, sizes)``.
        seen: inputs that are in it.
        waiting: inputs without a hit that came after them.
    """

    bets: Bets
    money: Values
    seen: int = 0
    waiting: int = 0

    @classmethod
    def of(cls, bets: Bets) -> Self:
        """Before any input."""
        return cls(bets, bets.blank())

    @property
    def value(self) -> float:
        """What an alarm's limit is held against."""
        return float(self.money.mean())

    def pass_over(self, count: int) -> None:
        """Take inputs that hit at no level."""
        self.waiting += count

    def add(self, hits: NDArray[np.bool_], expected: Values | None = None) -> float:
        """Take an input.

        Args:
            hits: ``(levels,)``.
            expected: rates that were expected of it, ``(expected,)``, where the bets have such.

        Returns:
            `value` after it.
        """
        self._settle()
        bets = self.bets
        ((_, paid),) = bets.paid(self.seen, 1)
        self.money += paid
        self.money *= bets.factors(hits, expected)
        self.seen += 1
        return self.value

    def add_block(self, hits: NDArray[np.bool_], expected: Values) -> float:
        """Take a block of inputs, with bets on too many and on too few hits that are opened at its beginning alone.

        Args:
            hits: ``(inputs,)``.
            expected: rate that was expected of each, ``(inputs,)``.

        Returns:
            `value` after it.
        """
        bounds, size = self.bets, len(hits)
        self.money += sum(count * paid for count, paid in bounds.paid(self.seen, size))
        most = len(bounds.rates)
        sides = [
            (hits, bounds.hit[:1]),
            (~hits, bounds.hit[1:most]),
            (hits, _hit(expected)),
            (~hits, _hit(1 - expected)),
        ]
        self.money *= [np.where(side[:, None], factor, _MISS).prod(0) for side, factor in sides]
        self.seen += size
        return self.value

    def restart(self) -> None:
        """Begin from nothing, after an alarm."""
        self.money = self.bets.blank()

    def _settle(self) -> None:
        """Let the inputs without a hit enter: n steps R ← (R + w)a are Ra^n + wa(1 − a^n)/(1 − a)."""
        miss = self.bets.miss
        for count, paid in self.bets.paid(self.seen, self.waiting) if self.waiting else ():
            after = miss**count
            self.money = self.money * after + paid * miss * (1 - after) / (1 - miss)
        self.seen += self.waiting
        self.waiting = 0
