"""How well scores still tell clean images from attacked ones, when the attacker wants a low score above all.

A radius asks how far an attacker must go to pass one threshold. Here the bound is fixed and every threshold counts. The
attacks are those of `ce_detect.redteam.radii`. They fool the classifier and then lower the score, further than that of
the cleanest image. What counts of each image is the worst that any attack found (MEAD, Granese et al. 2022, arXiv
2206.15415).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ce_detect.data.corruptions import Corruption
from ce_detect.redteam.descent import Best, descend
from ce_detect.redteam.gradient_masking import Trial
from ce_detect.redteam.interval import Interval, redrawn
from ce_detect.redteam.radii import Case, judged
from ce_detect.redteam.settings import Sizes
from ce_detect.redteam.target import Joint, Target, margin
from ce_detect.redteam.treated import Treated

DRAWS = 500
"""Redraws of the images for an interval."""


@dataclass(frozen=True, slots=True)
class UnderAttack:
    """Figures within one bound. An image counts as attacked where it fools the classifier.

    Attributes:
        eps: largest change of a pixel, in parts of the pixel range.
        fooled: share of images that fool the classifier.
        flagged: share of those that is flagged; None where there are none.
        auroc: clean images against those; None where there are none.
        then: what happens to attacked and clean images alike before they are judged; empty for nothing.
        implied: share of images that pass the gate untouched and do not get through within the bound. A classifier
            that is right about so many within half the bound would follow (Tramer 2022, arXiv 2107.11630), so more
            than the best such classifiers have means that the attack is weak. Decisions on clean images count as right.
    """

    eps: float
    fooled: float
    flagged: float | None
    auroc: Interval | None
    implied: float
    then: str = ""


def under_attack(
    trial: Trial, radii_joint: Sizes, report: Callable[[float, float], None] | None = None
) -> tuple[UnderAttack, ...]:
    """Attack all images within each of the plan's bounds.

    Each second attack starts at the best input so far, the others at the clean images, or at random in a restart.

    Args:
        trial: who attacks what.
        radii_joint: smallest perturbations ``(n,)`` known to get through, in parts of the pixel range. They count too.
        report: called with the number of attacks done and their number in all.
    """
    case, plan = trial.case, trial.plan
    lowest = float(judged(trial.truth, case.x).score.min())
    target, truth = (_lowered(one, lowest) for one in (trial.target, trial.truth))
    before = judged(truth, case.x).score.numpy()
    generator = torch.Generator().manual_seed(plan.seed)
    turns, found = len(trial.attacks) * (plan.restarts + 1), []
    for place, eps in enumerate(plan.within):
        reach, best = torch.full((len(case),), eps * trial.width), Best.none(case.x)
        for turn, attack in enumerate(trial.attacks * (plan.restarts + 1)):
            start = best.x.clone() if turn % 2 else case.x
            if turn >= len(trial.attacks) and not turn % 2:
                start = start + reach.view(-1, 1, 1, 1) * (2 * torch.rand(start.shape, generator=generator) - 1)
            seen = descend(
                attack, target, case.x, case.labels, reach, steps=plan.steps, anchors=case.anchors, start=start,
                goal=np.inf,
            )  # fmt: skip
            best.offer(torch.arange(len(case)), seen.x, seen.margin, seen.excess)
            if report is not None:
                report(place * turns + turn + 1, len(plan.within) * turns)
        found.append(_figures(trial, before, judged(truth, best.x), eps, radii_joint))
    return tuple(found)


def treated(
    trial: Trial, treatment: Corruption, report: Callable[[float, float], None] | None = None
) -> tuple[UnderAttack, ...]:
    """The same where all images are treated before they are judged, and the attacker knows by what.

    Decisions to be changed are those on treated clean images, and no radius is known. What a treatment draws is drawn
    again for the judgement: an attacker expects it and does not choose it.
    """
    seed = trial.plan.seed
    target, truth = Treated(trial.target, treatment, seed), Treated(trial.truth, treatment, seed + 1)
    case = Case.of(truth, trial.case.x)
    known = np.full(len(case), np.inf)
    rows = under_attack(replace(trial, target=target, truth=truth, case=case), known, report)
    return tuple(replace(row, then=treatment.name) for row in rows)


def _lowered(target: Target, threshold: float) -> Target:
    """The same with another threshold: losses that stop at it go on until a score is as low."""
    lowered = copy(target)
    lowered.threshold = threshold
    return lowered


def _figures(trial: Trial, before: Sizes, after: Joint, eps: float, radii_joint: Sizes) -> UnderAttack:
    fooled = (margin(after.logits, trial.case.labels) < 0).numpy()
    scores, threshold = after.score.numpy(), trial.truth.threshold
    through = (fooled & (scores <= threshold)) | (radii_joint <= eps * (1 + 1e-9))
    flagged = float(np.mean(scores[fooled] > threshold)) if fooled.any() else None
    implied = float(np.mean((before <= threshold) & ~through))
    return UnderAttack(eps, float(fooled.mean()), flagged, _auroc(before, scores, fooled, trial.plan.seed), implied)


def _auroc(before: Sizes, scores: Sizes, fooled: NDArray[np.bool_], seed: int) -> Interval | None:
    """Area under the curve of all clean scores against those that fool; images are redrawn with what became of them."""
    if not fooled.any():
        return None
    value = _area(before, scores[fooled])

    def area(before: Sizes, scores: Sizes, fooled: Sizes) -> tuple[float]:
        attacked = scores[fooled > 0]
        return (_area(before, attacked) if len(attacked) else value,)  # nobody fools in a redraw of few images

    return redrawn(area, before, scores, fooled, seed=seed, draws=DRAWS)[0]


def _area(clean: Sizes, attacked: Sizes) -> float:
    truth = np.repeat([0, 1], [len(clean), len(attacked)])
    return float(roc_auc_score(truth, np.concatenate([clean, attacked])))
