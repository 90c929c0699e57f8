"""Attackers who know that images are saved or scaled before they are judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from support.targets import PLAN, gated, images

from ce_detect.data.corruptions import Corruption
from ce_detect.redteam.descent import Best
from ce_detect.redteam.gradient_masking import Trial
from ce_detect.redteam.joint_margin import JointMargin
from ce_detect.redteam.radii import Case, judged, union
from ce_detect.redteam.target import Target, margin
from ce_detect.redteam.treated import Treated
from ce_detect.redteam.under_attack import treated, under_attack

SAVED = Corruption("jpeg", 2)
PLAN_WITHIN = replace(PLAN, within=(8 / 255,), then=("jpeg 2",))


def test_what_is_judged_is_the_image_after_the_treatment() -> None:
    """Logits and scores are those of the treated image; the gradient is that of the image itself."""
    target, x = gated(), images(4)
    seen = judged(Treated(target, SAVED, 0), x)
    saved = torch.from_numpy(SAVED(x.numpy(), bounds=target.bounds, seed=0))
    assert torch.allclose(seen.logits, judged(target, saved).logits, atol=1e-5)
    assert not torch.allclose(seen.logits, judged(target, x).logits, atol=1e-2)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(Treated(target, SAVED, 0).joint(leaf).score.sum(), leaf)
    assert (slope != 0).any()


def test_the_threshold_of_a_treated_target_is_its_own() -> None:
    """An attack that lowers it leaves the gate as it is, and its losses follow the lowered one."""
    target = gated()
    before, behind = target.threshold, Treated(target, SAVED, 0)
    behind.threshold = before - 5
    assert (behind.threshold, behind.target.threshold, target.threshold) == (before - 5, before - 5, before)


def test_who_expects_a_save_gets_further_after_it() -> None:
    """Of two equal attacks the one through the treatment fools more classifiers that see the saved file."""
    target, x = gated(), images(24)
    behind = Treated(target, SAVED, 0)
    case = Case.of(behind, x)
    eps = torch.full((len(x),), 6 / 255)

    def fooled(attacked: Target) -> float:
        best: Best = union(attacked, case, eps, steps=10, attacks=(JointMargin(),))
        return float((margin(judged(behind, best.x).logits, case.labels) < 0).float().mean())

    assert fooled(behind) > fooled(target)


def test_figures_name_the_treatment_and_hold_clean_images_against_it() -> None:
    """A row says what happened before the judgement, and is another one than that without."""
    target, x = gated(), images(12)
    trial = Trial(target, target, Case.of(target, x), (JointMargin(),), PLAN_WITHIN)
    (plain,) = under_attack(trial, np.full(len(x), np.inf))
    (saved,) = treated(trial, SAVED)
    assert (plain.then, saved.then) == ("", "jpeg 2")
    assert plain.auroc is not None
    assert saved.auroc is not None
    assert saved.auroc.value != plain.auroc.value
