"""What a gate does on clean and attacked inputs that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.calibrate.sets import AttackedSet
from ce_detect.detector.gate import Gate, Verdict
from ce_detect.evaluate.metrics import auroc, share_above, tpr_at


@dataclass(frozen=True, slots=True)
class CleanFigures:
    """Clean inputs, all of them, also the misclassified ones.

    Attributes:
        n: number of inputs.
        false_positive_rate: share that is flagged, over all.
        false_positive_rate_correct: over the correctly classified; None without labels.
        false_positive_rate_misclassified: over the misclassified; None without labels.
        accuracy: of the classifier; None without labels.
        passed_accuracy: accuracy over the inputs that pass the gate; None without labels.
    """

    n: int
    false_positive_rate: float
    false_positive_rate_correct: float | None
    false_positive_rate_misclassified: float | None
    accuracy: float | None
    passed_accuracy: float | None


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """One attack. An attempt succeeds when the classifier's decision differs from its decision on the clean twin.

    Attributes:
        n: number of attempts, one an image.
        success_rate: share of attempts that succeed.
        auroc: over all attempts, against all clean inputs.
        auroc_successes: over successful attempts, against all clean inputs.
        detection_rate: share of attempts that are flagged at the calibrated threshold.
        detection_rate_successes: the same over successful attempts.
        tpr_at_1, tpr_at_5: share of successful attempts above the 99th, 95th percentile of these clean scores.
        evasion_rate: share of attempts that succeed *and* pass the gate.
        passed_accuracy: accuracy over the attempts that pass the gate; None without labels.
    """

    n: int
    success_rate: float
    auroc: float
    auroc_successes: float
    detection_rate: float
    detection_rate_successes: float
    tpr_at_1: float
    tpr_at_5: float
    evasion_rate: float
    passed_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of a gate at its calibrated threshold.

    Attributes:
        threshold: the calibrated threshold.
        target: false-positive rate that was asked for.
        clean: figures on clean inputs.
        attacks: figures by name of the attack.
    """

    threshold: float
    target: float
    clean: CleanFigures
    attacks: dict[str, AttackFigures]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; figures that do not exist (no successes, no labels) are None."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def evaluate(
    gate: Gate,
    x: NDArray[np.float32],
    y: NDArray[np.int64] | None,
    attacked: Mapping[str, AttackedSet],
    *,
    target: float,
) -> Report:
    """Measure a gate.

    Args:
        gate: a calibrated gate.
        x: clean ``(n, channels, height, width)``, none of which was used in calibration.
        y: labels ``(n,)``; None where they are not known.
        attacked: attacked twins of some or all of ``x``, by name.
        target: false-positive rate that was asked for.
    """
    clean = judge(gate, x)
    threshold = float(gate.threshold)
    return Report(
        threshold=threshold,
        target=target,
        clean=_clean_figures(clean, y, threshold),
        attacks={name: _attack_figures(gate, clean, y, twins, threshold) for name, twins in attacked.items()},
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores and labels of many inputs.

    Attributes:
        score: ``(n,)`` float32.
        label: ``(n,)`` the classifier's decision.
    """

    score: NDArray[np.float32]
    label: NDArray[np.int64]


def judge(gate: Gate, x: NDArray[np.float32]) -> Judged:
    """Score many inputs in batches."""
    verdicts = list(run(gate, torch.from_numpy(x)))
    return Judged(
        np.concatenate([v.score.cpu().numpy() for v in verdicts]),
        np.concatenate([v.label.cpu().numpy() for v in verdicts]),
    )


def run(gate: Gate, x: torch.Tensor) -> Iterable[Verdict]:
    """Run the gate over batches of at most ``gate.signature.chunk`` inputs, on the classifier's device."""
    size = gate.signature.chunk or 128
    device = gate.threshold.device
    with torch.inference_mode():
        for part in x.split(size):
            yield gate(part.to(device))


def _clean_figures(clean: Judged, y: NDArray[np.int64] | None, threshold: float) -> CleanFigures:
    passed = clean.score <= threshold
    if y is None:
        return CleanFigures(len(clean.score), share_above(clean.score, threshold), None, None, None, None)
    correct = clean.label == y
    return CleanFigures(
        n=len(clean.score),
        false_positive_rate=share_above(clean.score, threshold),
        false_positive_rate_correct=share_above(clean.score[correct], threshold),
        false_positive_rate_misclassified=share_above(clean.score[~correct], threshold),
        accuracy=float(correct.mean()),
        passed_accuracy=_mean(correct[passed]),
    )


def _attack_figures(
    gate: Gate, clean: Judged, y: NDArray[np.int64] | None, twins: AttackedSet, threshold: float
) -> AttackFigures:
    judged = judge(gate, twins.x)
    success = judged.label != clean.label[twins.index]
    passed = judged.score <= threshold
    return AttackFigures(
        n=len(judged.score),
        success_rate=float(success.mean()),
        auroc=auroc(clean.score, judged.score),
        auroc_successes=auroc(clean.score, judged.score[success]),
        detection_rate=share_above(judged.score, threshold),
        detection_rate_successes=share_above(judged.score[success], threshold),
        tpr_at_1=tpr_at(clean.score, judged.score[success], 0.01),
        tpr_at_5=tpr_at(clean.score, judged.score[success], 0.05),
        evasion_rate=float((success & passed).mean()),
        passed_accuracy=None if y is None else _mean((judged.label == y[twins.index])[passed]),
    )


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
