"""Inputs with their verdicts and pictures."""

from __future__ import annotations

import numpy as np
import pytest
from support.calibrated import fresh, guard

from ce_detect.evaluate.scores import Flagged
from ce_detect.reporting.gallery import SHOWN, entries


def test_an_entry_has_the_verdict_of_the_gate_and_the_range_of_each_map() -> None:
    """And says what the classifier said before, where that is another image."""
    clean, attacked = fresh()
    found = guard().explain(attacked[:1])
    origin = Flagged("attacked", "pgd", 7, attacked[0], clean[0], 3)
    (entry,) = entries(found, ["seven"], (0.0, 1.0), [origin])
    judged = guard()(attacked[:1])
    assert entry.verdict["label"] == int(judged.label[0])
    assert entry.verdict["score"] == pytest.approx(float(judged.score[0]), abs=1e-4)
    target = np.asarray(found.maps.target[0])
    assert entry.verdict["maps"]["target"] == pytest.approx([target.min(), target.max()], abs=1e-4)
    assert 0 < len(entry.verdict["carried"]) <= SHOWN
    assert [one["caption"].partition(":")[0] for one in entry.pictures] == [
        "before", "the input", "where hiding weakens the decision", "where hiding moves other classes",
        "where hiding lets a rival rise",
    ]  # fmt: skip
    assert entry.pictures[0]["caption"] == "before: the model said class 3"
    assert len(entries(found, ["seven"], (0.0, 1.0))[0].pictures) == 4
