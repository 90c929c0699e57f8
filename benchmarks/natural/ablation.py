"""Which part of the evidence is causal: effects, free statistics and the picture, each alone and left out; budget 2.0.

    CE_DETECT_DATA=... python -m benchmarks.natural.ablation

Heads are fitted again on the signature of the gate, with the features of the other parts held at zero. *Effects* are
what interventions do to logits, *free statistics* what one forward pass gives, *picture* local differences of pixels.
Natural change is counted above the 95th percentile of the clean images of the same row, not at a gate's threshold.
Writes ``results/ablation-<subject>.json``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.detection.measures import mean
from benchmarks.face import (
    MILD,
    Floats,
    Shuffled,
    Table,
    auroc,
    by_rows,
    divided,
    feature_tables,
    features,
    fused_head,
    judge,
    prepare,
    rows,
    tpr_at,
)
from benchmarks.natural.gates import BUDGET, Judged, program
from benchmarks.program import progress
from benchmarks.subjects.settings import FPR, SEED
from ce_detect import CalibrationSettings, Recipe


def main() -> None:
    program(
        __doc__,
        "ablation",
        "AUROC of successful attacks against clean images, their controls, and natural change",
        measured,
    )


def parts_of(names: tuple[str, ...], free: int) -> dict[str, Any]:
    """Which features belong to which part."""
    place = np.arange(len(names))
    picture = np.array([name.startswith("trace.image-gradients") for name in names])
    return {"effects": place >= free, "free statistics": (place < free) & ~picture, "picture": picture}


def measured(found: Judged) -> dict[str, Any]:
    """Every part alone, and left out."""
    signature, x = found.guard.gate.signature, found.fresh.x
    recipe, bounds = Recipe.load(found.subject.recipe), found.guard.classifier.bounds
    settings = CalibrationSettings.of(recipe=recipe, fpr=FPR, budget=BUDGET, seed=found.seed, progress=progress)
    data = prepare(found.guard.classifier, divided(found.first, settings), settings)
    tables = [feature_tables.table(signature, data.sets[split]) for split in ("fit", "select")]
    labels = judge(found.guard.gate, x).label
    seen = {"clean": features(signature, x)}
    changed = [corruption(x, bounds=bounds, seed=SEED) for corruption in MILD if corruption.severity == 1]
    seen["natural"] = np.concatenate([features(signature, images) for images in changed])
    for name, twins in found.attacked.items():
        fooled = judge(found.guard.gate, twins.pixels).label != labels[twins.index]
        seen[f"attack {name}"] = features(signature, twins.subset(fooled).pixels)
        shuffled = Shuffled(twins.pixels, rows(found.fresh.pixels, twins.index), bounds, SEED)
        seen[f"control {name}"] = features(signature, shuffled)
    parts = parts_of(signature.names, signature.free)
    kept = {"all": np.ones(len(signature.names), bool)}
    kept |= {f"{part} alone": mask for part, mask in parts.items()}
    kept |= {f"without {part}": ~mask for part, mask in parts.items()}
    measured = {label: _row(found, signature, tables, seen, mask, recipe) for label, mask in kept.items() if mask.any()}
    summary = {label: row["auroc"] for label, row in measured.items()}
    return {"summary": summary, "interventions": found.guard.manifest["signature"]["names"], "parts": measured}


def _row(
    found: Judged, signature: Any, tables: list[Table], seen: dict[str, Floats], kept: Any, recipe: Recipe
) -> dict[str, float]:
    masked = tuple(
        Table(table.clean * kept, {name: some * kept for name, some in table.attacked.items()}, rounding=table.rounding)
        for table in tables
    )
    head = fused_head(signature, masked, recipe.head, SEED)
    with torch.inference_mode():
        scores = {name: by_rows(head, torch.from_numpy(np.float32(some * kept))).numpy() for name, some in seen.items()}
    names = [name for name in found.attacked if len(scores[f"attack {name}"])]
    level = float(np.quantile(scores["clean"], 1 - FPR))
    return {
        "features": int(kept.sum()),
        "auroc": mean(auroc(scores["clean"], scores[f"attack {name}"]) for name in names),
        "tpr_at_5": mean(tpr_at(scores["clean"], scores[f"attack {name}"], FPR) for name in names),
        "auroc_against_control": mean(auroc(scores[f"control {name}"], scores[f"attack {name}"]) for name in names),
        "auroc_against_natural": mean(auroc(scores["natural"], scores[f"attack {name}"]) for name in names),
        "natural_flagged_at_5": round(float((scores["natural"] > level).mean()), 4),
    }


if __name__ == "__main__":
    main()
