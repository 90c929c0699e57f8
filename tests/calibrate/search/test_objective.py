"""The worth of features: a quick fit on some, scored on attacks that it saw and on those that it did not."""

from __future__ import annotations

import numpy as np
import pytest

from ce_detect.calibrate.search.objective import Objective
from ce_detect.fitting.feature_tables import Table


def table(seed: int, *, shifts: dict[str, tuple[float, ...]], count: int = 400) -> Table:
    """Features of standard normal noise, moved by an attack."""
    rng = np.random.default_rng(seed)

    def rows(shift: tuple[float, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return (rng.normal(size=(count, len(shift))) + shift).astype(np.float32)

    width = len(next(iter(shifts.values())))
    return Table(rows((0.0,) * width), {name: rows(shift) for name, shift in shifts.items()})


def worth(shifts: dict[str, tuple[float, ...]], *columns: int) -> float:
    """Worth of some columns, fitted on one table and scored on another."""
    return Objective(table(0, shifts=shifts), table(1, shifts=shifts))(np.array(columns, np.int64))


def test_features_that_an_attack_moves_are_worth_more() -> None:
    """Noise is worth no more than a guess; two that are moved more than one."""
    shifts = {"a": (2.0, 0.0, 2.0)}
    assert worth(shifts, 1) == pytest.approx(0.5, abs=0.08)
    assert worth(shifts, 0) > 0.85
    assert worth(shifts, 0, 2) > worth(shifts, 0) + 0.02


def test_what_carries_over_to_an_unseen_attack_is_worth_more() -> None:
    """One feature that both attacks move beats two that are moved by one attack each."""
    shifts = {"a": (2.0, 2.5, 0.0), "b": (2.0, 0.0, 2.5)}
    assert worth(shifts, 0) > worth(shifts, 1, 2)
    alone = {"a": (2.0, 2.5, 0.0)}
    assert worth(alone, 0) < worth(alone, 1, 2)


def test_attacks_without_successes_do_not_count() -> None:
    """In either of the two tables."""
    shifts = {"a": (2.0,), "b": (0.0,)}
    fit, select = table(0, shifts=shifts), table(1, shifts=shifts)
    none = Table(select.clean, {**select.attacked, "b": select.attacked["b"][:0]})
    columns = np.array([0], np.int64)
    only = Table(fit.clean, {"a": fit.attacked["a"]}), Table(select.clean, {"a": select.attacked["a"]})
    assert Objective(fit, none)(columns) == Objective(*only)(columns)
