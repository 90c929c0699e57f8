"""The train x test matrix on real attacks."""

from __future__ import annotations

import numpy as np
from support import calibrated

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import attack_all
from ce_detect.evaluate import report
from ce_detect.evaluate.matrix import ALL, matrix
from ce_detect.fitting import feature_tables


def test_a_strong_attack_is_found_by_those_that_learned_it() -> None:
    """A row for each learned attack and one for all; PGD is found where it was learned."""
    guard = calibrated.guard()
    x = calibrated.images().x
    attacks = (Attack.of("fgsm"), Attack.of(**calibrated.PGD))
    twins = attack_all(guard.classifier, x, attacks, seed=0, jobs=1, cache=calibrated.cache())
    labels = report.judge(guard.gate, x).label
    won = {
        name: part.subset(report.judge(guard.gate, part.pixels).label != labels[part.index])
        for name, part in twins.items()
    }
    halves = {}
    for half, rows, taken in (("fit", slice(150), range(150)), ("judged", slice(150, None), range(150, 300))):
        some = {name: part.subset(np.isin(part.index, taken).nonzero()[0]) for name, part in won.items()}
        halves[half] = feature_tables.Sets(x[rows], some)
    judged = feature_tables.table(guard.gate.signature, halves["judged"])
    nothing = feature_tables.Sets(x[:0], {name: part.subset([]) for name, part in won.items()})
    sets = {"fit": halves["fit"], "select": nothing}
    found = matrix(guard.gate.signature, sets, judged, kind="logistic", seed=0)
    pgd = attacks[1].name
    assert set(found) == {"fgsm 8/255", pgd, ALL}
    assert all(set(row) == {"fgsm 8/255", pgd} for row in found.values())
    assert found[pgd][pgd] > 0.9
    assert found[ALL][pgd] > 0.9
