"""Real scores for simulated streams: one gate, and what it says of clean, naturally changed and attacked images.

    CE_DETECT_DATA=... python -m benchmarks.campaigns.scores

Calibrates on 2,800 test images of Fashion-MNIST (recipe ``quick``, 1 % asked), and judges the other 7,200: plain, each
under one natural change of the recipe, each darker (what an ageing lamp does), and 400 of them under attacks. Keeps the
scores, with the labels that the classifier gave, in ``results/scores.npz``; the streams are drawn from these.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from benchmarks.face import Images, atomic, attack_all, controls, judge, mixture
from benchmarks.program import parser, progress, quiet
from benchmarks.subjects.settings import SEED
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Attack, Recipe

RESULT = Path(__file__).parent / "results" / "scores.npz"
CALIBRATED, ATTACKED = 2800, 400
FPR = 0.01
ATTACKS = (
    Attack.of("pgd", eps="8/255", eps_step="2/255", max_iter=10),
    Attack.of("cw-l2", binary_search_steps=3, max_iter=10, initial_const=1.0),
    Attack.of("square", eps="16/255", max_iter=300),
)
DARKER = 0.85
"""Factor on the pixels of a stream that drifts."""


def main() -> None:
    parser(__doc__).parse_args()
    quiet()
    subject = SUBJECTS["fashion"]
    x, y = subject.images()
    first, fresh = Images(x[:CALIBRATED], y[:CALIBRATED]), x[CALIBRATED:]
    guard = subject.guard(x.shape[1:])
    guard.calibrate(first, recipe="quick", fpr=FPR, seed=SEED, progress=progress)
    gate, bounds, recipe = guard.gate, guard.classifier.bounds, Recipe.load("quick")
    clean = judge(gate, fresh)
    natural = judge(gate, mixture(fresh, recipe.corruptions, share=1.0, bounds=bounds, seed=SEED))
    darker = judge(gate, np.round(fresh * DARKER * 255).astype(np.float32) / 255)
    attacked_scores, attacked_labels = [], []
    for twins in attack_all(guard.classifier, fresh[:ATTACKED], ATTACKS, seed=SEED, progress=progress).values():
        judged = judge(gate, controls.rounded(twins.x, bounds))
        fooled = judged.label != clean.label[twins.index]
        attacked_scores.append(judged.score[fooled])
        attacked_labels.append(judged.label[fooled])
    kept = {"clean": clean.score, "natural": natural.score, "darker": darker.score}
    labels = {"clean_label": clean.label, "natural_label": natural.label, "darker_label": darker.label}
    attacked = {"attacked": np.concatenate(attacked_scores), "attacked_label": np.concatenate(attacked_labels)}
    file = io.BytesIO()
    np.savez_compressed(file, threshold=np.float32(clean.threshold), **kept, **labels, **attacked)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(RESULT, file.getvalue())
    for name, scores in (*kept.items(), ("attacked", attacked["attacked"])):
        print(f"{name}: {len(scores)} scores, flagged {np.mean(scores > clean.threshold):.4f}")


if __name__ == "__main__":
    main()
