"""Drift: clean inputs are no longer what they were, told from a campaign by inputs that nobody would flag.

A campaign adds a few inputs that are more suspicious than nearly all clean ones. What a new camera, an ageing lamp or
another season does moves all scores. So drift is looked for among inputs of large p-values:
whether too many or too few of them lie on the more suspicious side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ce_detect.monitor.evidence import Bets, Evidence, Form
from ce_detect.monitor.reference import Reference

BLOCK = 64
"""Inputs that enter the evidence together."""


SUSPICION = 20
"""Part of an alarm's evidence from which on drift is named beside a campaign; timid bets alone reach some thousands."""


@dataclass
class Drift:
    """Evidence of drift in one stream.

    Attributes:
        evidence: that too many of the unsuspicious inputs are on the more suspicious side, and that too few are.
        limit: evidence that is an alarm.
        hits: among clean inputs that are known and all inputs of full blocks, see `Reference.bulk_known`.
        count: of those.
        block: hits and misses of the block that is not full yet.
    """

    evidence: Evidence
    limit: float
    hits: int
    count: int
    block: list[bool] = field(default_factory=list)

    @classmethod
    def of(cls, reference: Reference, limit: float, form: Form) -> Self:
        """Before any input."""
        smallest, largest = reference.bulk_rates
        rates = np.clip([largest, 1 - smallest], 1e-9, 1 - 1e-9)
        return cls(Evidence.of(Bets(rates, form, 2)), limit, *reference.bulk_known)

    @property
    def suspected(self) -> bool:
        """Whether there is so much evidence that an alarm for a campaign should name drift as well."""
        return self.evidence.value >= self.limit / SUSPICION

    def feed(self, p_values: NDArray[np.float64], reference: Reference) -> bool:
        """Take p-values in their order.

        Returns:
            Whether there was an alarm.
        """
        inside = p_values[p_values > reference.bulk[0]] <= reference.bulk[1]
        alarm, at = False, 0
        while at < len(inside):
            part = inside[at : at + BLOCK - len(self.block)].tolist()
            at += len(part)
            self.block += part
            if len(self.block) == BLOCK and self._full() >= self.limit:
                alarm = True
                self.evidence.restart()
        return alarm

    def _full(self) -> float:
        hits = np.array(self.block)
        before = self.hits + np.cumsum(hits) - hits
        value = self.evidence.add_block(hits, before / (self.count + np.arange(BLOCK)))
        self.hits, self.count, self.block = self.hits + int(hits.sum()), self.count + BLOCK, []
        return value
