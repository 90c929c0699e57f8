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

Inputs that hit at no level are counted, and enter by a closed form with the next that does: most inputs cost an
addition.
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

_LARGEST, _SMALLEST = 0.9, 0.01
"""Bets as parts of the largest one, 1/q."""

_SIZES = 6


@dataclass(frozen=True, eq=False)
class Bets:
    """What is bet on: levels and sizes.

    Attributes:
        rates: ``(levels,)`` largest rate of hits that is no evidence, in (0, 1].
        form: see `Form`.
    """

    rates: Values
    form: Form = "rate"

    @cached_property
    def hit(self) -> Values:
        """``(levels, sizes)`` factor where an input is a hit."""
        return np.asarray(1 + self._sizes * (1 - self.rates[:, None]))

    @cached_property
    def miss(self) -> Values:
        """``(levels, sizes)`` factor where it is none."""
        return np.asarray(1 - self._sizes * self.rates[:, None])

    @cached_property
    def _sizes(self) -> Values:
        """λ: from timid to bold, as nobody knows how large the share of attacks is."""
        return np.asarray(np.geomspace(_SMALLEST, _LARGEST, _SIZES) / self.rates[:, None])

    def blank(self) -> Values:
        """``(levels, sizes)`` money before any input."""
        return np.zeros((len(self.rates), _SIZES))

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


@dataclass
class Evidence:
    """One stream's evidence.

    Attributes:
        bets: what is bet on.
        money: ``(levels, sizes)``.
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

    def add(self, hits: NDArray[np.bool_]) -> float:
        """Take an input with its hits ``(levels,)``.

        Returns:
            `value` after it.
        """
        self._settle()
        bets = self.bets
        ((_, paid),) = bets.paid(self.seen, 1)
        self.money += paid
        self.money *= np.where(hits[:, None], bets.hit, bets.miss)
        self.seen += 1
        return self.value

    def add_block(self, hits: Values, size: int) -> float:
        """Take a block of inputs whose hits ``(levels,)`` are counted; bets are opened at its beginning alone.

        Returns:
            `value` after it.
        """
        self._settle()
        bets, counts = self.bets, hits[:, None]
        self.money += sum(count * paid for count, paid in bets.paid(self.seen, size))
        self.money *= np.exp(counts * np.log(bets.hit) + (size - counts) * np.log(bets.miss))
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
