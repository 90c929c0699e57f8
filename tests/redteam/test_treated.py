"""Attackers who know that images are saved or scaled before they are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.targets import PLAN, Line, gated, grey, images

from ce_detect.data.corruptions import Corruption
from ce_detect.redteam.descent import Best
from ce_detect.redteam.gradient_masking import Trial
from ce_detect.redteam.joint_margin import JointMargin
from ce_detect.redteam.radii import Case, judged, union
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.target import Target, margin
from ce_detect.redteam.treated import Treated
from ce_detect.redteam.under_attack import treated, under_attack

SAVED = Corruption("jpeg", 2)


def test_what_is_judged_is_the_image_after_the_treatment() -> None:
    """Logits and scores are those of the treated image; the gradient is that of the image itself."""
    target, x = gated(), images(4)
    seen = judged(Treated(target, SAVED, 0), x)
    saved = torch.from_numpy(SAVED(x.numpy(), bounds=target.bounds, seed=0))
    assert torch.allclose(seen.logits, judged(target, saved).logits, atol=1e-5)
    assert not torch.allclose(seen.logits, judged(target, x).logits, atol=1e-2)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(Treated(target, SAVED, 0).joint(leaf).score.sum(), leaf)
    at_saved = saved.clone().requires_grad_()
    (expected,) = torch.autograd.grad(target.joint(at_saved).score.sum(), at_saved)
    assert (expected != 0).any()
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-5)


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


def test_clean_images_are_treated_like_attacked_ones(tmp_path: Path) -> None:
    """Where the treatment alone has every image flagged, no image passes untouched, and a row says what happened."""
    source = tmp_path / "light.py"
    source.write_text("def brighter(image, generator):\n    return (image.astype('int64') + 77).astype('uint8')\n")
    case = Case.of(Line(), torch.from_numpy(grey()))
    trial = Trial(Line(), Line(), case, (Selective(),), replace(PLAN, within=(0.01,)))
    (plain,) = under_attack(trial, np.full(len(case), np.inf))
    (bright,) = treated(trial, Corruption(f"{source}:brighter"))
    assert (plain.then, bright.then) == ("", f"{source}:brighter")
    assert (plain.fooled, plain.implied) == (0.0, 1.0)
    assert (bright.fooled, bright.implied) == (0.0, 0.0)


def test_an_attacker_does_not_choose_what_a_treatment_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What judges draws with another seed than what is attacked."""
    seeds: list[tuple[object, int]] = []
    made = Treated.__init__

    def noted(self: Treated, target: Target, treatment: Corruption, seed: int) -> None:
        seeds.append((target, seed))
        made(self, target, treatment, seed)

    monkeypatch.setattr(Treated, "__init__", noted)
    attacked, judging = Line(), Line()
    case = Case.of(judging, torch.from_numpy(grey()))
    treated(
        Trial(attacked, judging, case, (Selective(),), replace(PLAN, within=(0.01,))), Corruption("uniform-noise", 1)
    )
    assert dict(seeds)[attacked] != dict(seeds)[judging]
