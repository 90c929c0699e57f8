"""An attacker who knows that the file will be saved or scaled, and attacks through that; budget 2.0.

    CE_DETECT_DATA=... python -m benchmarks.natural.on_purpose

PGD of 8/255, whose every step averages over four draws of a treatment: JPEG of quality 60 to 95, whose gradient is
taken as that of doing nothing (Athalye et al. 2018, arXiv 1802.00420), or a bilinear resize to 0.8 to 0.95 and back.
Judged after the real treatment, where the image still fools, against clean images treated alike. Writes
``results/on-purpose-<subject>.json``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.measures import mean
from benchmarks.face import Classifier, attack_all, auroc, codecs, judge, share_above
from benchmarks.natural.gates import Judged, program
from benchmarks.natural.treatments import TREATMENTS
from benchmarks.program import progress
from benchmarks.subjects.settings import SEED
from ce_detect import Attack

DRAWS = 4
"""Treatments that a step averages over."""

ATTACKED = 100
"""Images that are attacked."""

JUDGED_AFTER = {
    "jpeg": ("JPEG 95", "JPEG 85", "JPEG 75", "JPEG 60"),
    "resize": ("shrink 7/8", "shrink 7/8, sharp", "enlarge 5/4"),
}
"""The real treatments by what the attacker expected."""


def through(
    classifier: Classifier, x: Tensor, labels: Tensor, *, treatment: str, eps: float, eps_step: float, max_iter: int
) -> Tensor:
    """Attack through a treatment that is drawn again in every step.

    Args:
        classifier: takes pixels in [0, 1].
        x: images ``(n, channels, height, width)``.
        labels: what the attack moves away from.
        treatment: ``"jpeg"`` or ``"resize"``.
        eps: largest change of a pixel.
        eps_step: of a step.
        max_iter: steps.
    """
    drawn = np.random.default_rng(SEED)
    change = {"jpeg": _saved, "resize": _resized}[treatment]
    attacked = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(max_iter):
        attacked = attacked.detach().requires_grad_()
        loss = sum(F.cross_entropy(classifier.logits(change(attacked, drawn)), labels) for _ in range(DRAWS))
        (gradient,) = torch.autograd.grad(torch.as_tensor(loss), attacked)
        moved = attacked.detach() + eps_step * gradient.sign()
        attacked = (x + (moved - x).clamp(-eps, eps)).clamp(0, 1)
    return attacked.detach()


def _saved(x: Tensor, drawn: np.random.Generator) -> Tensor:
    """Real JPEG forward, as if nothing had happened backward."""
    quality = drawn.uniform(60, 95)
    images = x.detach().cpu().numpy()
    made = np.stack([codecs.jpeg(image, quality, drawn) for image in images]).astype(np.float32)
    return x + (torch.from_numpy(made).to(x.device) - x).detach()


def _resized(x: Tensor, drawn: np.random.Generator) -> Tensor:
    height, width = x.shape[2:]
    share = drawn.uniform(0.8, 0.95)
    small = [round(share * height), round(share * width)]
    down = F.interpolate(x, small, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(down, [height, width], mode="bilinear", antialias=True, align_corners=False)


def main() -> None:
    program(__doc__, "on-purpose", "PGD 8/255 through a treatment, judged after the real one; 5 % asked", measured)


def measured(found: Judged) -> dict[str, Any]:
    """Every expected treatment, judged after each real one."""
    gate, x = found.guard.gate, found.fresh.x[:ATTACKED]
    labels = judge(gate, x).label
    known = {treatment.name: treatment for treatment in TREATMENTS}
    rows = []
    for expected, names in JUDGED_AFTER.items():
        attack = Attack.custom(
            "benchmarks/natural/on_purpose.py:through",
            name=f"pgd through {expected}", treatment=expected, eps=8 / 255, eps_step=1 / 255, max_iter=40,
        )  # fmt: skip
        twins = attack_all(found.guard.classifier, x, (attack,), seed=SEED, progress=progress)[attack.name]
        for name in names:
            clean, judged = judge(gate, known[name](x)), judge(gate, known[name](twins.x))
            scores = judged.score[judged.label != labels[twins.index]]
            rows.append(
                {
                    "expected": expected,
                    "treatment": name,
                    "still_fools": round(len(scores) / len(twins), 4),
                    "auroc": round(auroc(clean.score, scores), 4) if len(scores) else None,
                    "flagged": round(share_above(scores, judged.threshold), 4) if len(scores) else None,
                }
            )
    areas = [row["auroc"] for row in rows if row["auroc"] is not None]
    return {"summary": {"auroc": mean(areas), "worst": min(areas)}, "cells": rows}


if __name__ == "__main__":
    main()
