"""Candidates of a search whose costs and worth a test makes up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ce_detect.calibrate.items import Item
from ce_detect.calibrate.search.comparison import Comparison
from ce_detect.interventions import Flip, GradientStep


def items(count: int) -> list[Item]:
    """Interventions with the names ``"0"``, ``"1"``, and so on."""
    return [Item(str(number), Flip()) for number in range(count)]


def black_sheep() -> Item:
    """One that no graph can hold, with the name ``"torch"``."""
    return Item("torch", GradientStep(low=0.0, high=1.0))


def compared(
    candidates: list[Item], costs: Mapping[str, float], worth: Callable[[frozenset[str]], float]
) -> Comparison:
    """Candidates with one feature each, beside one that is free.

    Args:
        candidates: all of them.
        costs: by name.
        worth: value of a set of names.
    """
    columns = {"": np.array([0]), **{item.name: np.array([i + 1]) for i, item in enumerate(candidates)}}
    names = {int(own[0]): name for name, own in columns.items()}

    def objective(used: NDArray[np.int64]) -> float:
        return worth(frozenset(names[column] for column in used.tolist() if names[column]))

    return Comparison(candidates, costs, columns, objective)
