"""What candidates are compared by: what each costs, and what any set of them is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ce_detect.calibrate.items import Item
from ce_detect.core.types import Index


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidates side by side.

    Attributes:
        items: all of them, the usually best first.
        costs: cost of each on top of the free statistics, by name, in forward passes.
        columns: columns of each by name, those of the free statistics under the empty name.
        objective: value of the features at some columns, see `ce_detect.calibrate.search.objective.Objective`.
    """

    items: Sequence[Item]
    costs: Mapping[str, float]
    columns: Mapping[str, Index]
    objective: Callable[[Index], float]
    _known: dict[tuple[str, ...], float] = field(default_factory=dict, init=False, repr=False)

    def value(self, items: Sequence[Item]) -> float:
        """Value of the free statistics together with these items; kept, as greedy choices begin alike."""
        names = tuple(item.name for item in items)
        if names not in self._known:
            columns = [self.columns[name] for name in ("", *names)]
            self._known[names] = self.objective(np.concatenate(columns))
        return self._known[names]
