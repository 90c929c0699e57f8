"""Clean inputs of the same class: which they are, how far their effects go, and when nothing is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.calibrated import fresh, guard

from ce_detect.core.errors import InputError
from ce_detect.explain.attribution import Carried
from ce_detect.explain.clean_inputs import LEAST, CleanInputs, clean_inputs


def made(label: list[int], score: list[float]) -> CleanInputs:
    """Inputs of one pixel, whose only feature counts them."""
    count = torch.arange(float(len(label)))[:, None]
    return CleanInputs(np.zeros((len(label), 1, 1, 1), np.float32), count, torch.tensor(label), torch.tensor(score))


def test_a_class_has_its_own_inputs_where_they_are_enough() -> None:
    """One fewer than asked for are none."""
    found = made([1] * LEAST + [0] * (LEAST - 1), [0.0] * (2 * LEAST - 1))
    assert found.of_class(1)[:, 0].tolist() == list(range(LEAST))
    assert found.of_class(0).shape == (0, 1)
    assert found.of_class(7).shape == (0, 1)


def test_the_typical_one_has_the_median_score_of_its_class() -> None:
    """Not of all; a class without any has none."""
    found = made([0, 1, 1, 1, 0], [9.0, 3.0, 1.0, 2.0, 8.0])
    assert (found.typical(1), found.typical(0), found.typical(2)) == (3, 4, None)


def flipped(parts: list[Carried]) -> Carried:
    """What the one intervention did."""
    (found,) = (part for part in parts if part.effect is not None)
    return found


def test_effects_are_held_against_those_of_the_same_class() -> None:
    """The share of clean inputs with the same decision that move less, counted anew; in words and as numbers."""
    clean, attacked = fresh()
    column = guard().gate.signature.names.index("Flip(scale=1.0)@input.target effect")
    with torch.no_grad():
        logits, features = guard().gate.signature(torch.from_numpy(clean))
    decided = logits.argmax(1)
    label = int(decided.mode().values)
    x = attacked[guard()(attacked).label == label][:1]
    part = flipped(guard().explain(x, clean=clean).carried[0])
    assert part.effect is not None
    others = features[decided == label, column]
    less = float((others < part.effect if part.effect >= 0 else others > part.effect).float().mean())
    assert len(others) >= LEAST
    assert part.less is not None
    assert part.less == pytest.approx(less, abs=0.02)
    assert part.of_class == len(others)
    way = "fall" if part.effect >= 0 else "rise"
    assert f"; {100 * part.less:.1f} % of {len(others)} clean inputs of this class {way} less: " in part.words


def test_with_few_of_a_class_all_clean_inputs_say_what_is_usual() -> None:
    """As without any; the one that looks typical is shown all the same."""
    clean, attacked = fresh()
    alone, few = (guard().explain(attacked[:1], clean=some) for some in (None, clean[: LEAST - 1]))
    part = flipped(few.carried[0])
    assert (part.less, part.of_class) == (None, None)
    assert part.words == flipped(alone.carried[0]).words
    assert "typical_clean_input" not in alone.to_dict()[0]
    assert few.clean is not None
    assert few.to_dict()[0]["typical_clean_input"] == few.clean.typical(int(few.result.label[0]))


def test_clean_inputs_that_cannot_be_judged_are_refused() -> None:
    """As in a calibration."""
    with pytest.raises(InputError):
        clean_inputs(guard().gate, np.full((3, 1, 28, 28), np.nan, np.float32))
