"""What a gate does on clean and attacked inputs that it has not seen."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.attacks.controls import Shuffled
from ce_detect.attacks.generation import AttackedSet
from ce_detect.core.types import Floats, Index
from ce_detect.data import Mapped, Pixels, rows, tensors
from ce_detect.data.corruptions import Corruption
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.evaluate.figures import AttackFigures, CleanFigures, ControlFigures, CorruptionFigures, Detection
from ce_detect.evaluate.metrics import auroc, share_above, tpr_at
from ce_detect.evaluate.scores import Changed, Scores, scores
from ce_detect.verdict.conformal import p_values

logger = logging.getLogger("ce_detect")

TWICE = 2.0
"""Times the rate that was asked for, above which natural change is warned of."""


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of a gate at its calibrated threshold.

    Attributes:
        threshold: the calibrated threshold.
        target: false-positive rate that was asked for.
        clean: figures on clean inputs.
        attacks: figures by name of the attack.
        corruptions: figures by name of the corruption.
        scores: what they come from; not in plain data.
        seen: number of the clean images that calibration used: figures on new ones will be worse; not in plain data.
    """

    threshold: float
    target: float
    clean: CleanFigures
    attacks: dict[str, AttackFigures]
    corruptions: dict[str, CorruptionFigures]
    scores: Scores = field(repr=False, compare=False)
    seen: int = 0

    def warn(self) -> None:
        """Log the natural changes that are flagged at more than twice the rate that was asked for."""
        rates = {name: found.false_positive_rate for name, found in self.corruptions.items()}
        above = [f"{name} {rate:.0%}" for name, rate in rates.items() if rate > TWICE * self.target]
        if above:
            logger.warning(
                "natural change is flagged at more than twice the %.3g %% asked for: %s. Where your inputs have it, "
                "calibrate with natural = [...] (--natural), or with such images as also_clean (--also-clean)",
                100 * self.target, ", ".join(above),
            )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; figures that do not exist (no successes, no labels) are None."""
        plain: dict[str, Any] = without_nan(
            {
                "threshold": self.threshold,
                "target": self.target,
                "clean": asdict(self.clean),
                "attacks": {name: asdict(found) for name, found in self.attacks.items()},
                "corruptions": {name: asdict(found) for name, found in self.corruptions.items()},
            }
        )
        return plain


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores and labels of many inputs.

    Attributes:
        score: ``(n,)`` float32.
        label: ``(n,)`` the classifier's decision.
        threshold: score above which an input is flagged.
        clean_only: the same inputs in the eyes of the clean-only detector; None where the gate has none beside.
    """

    score: Floats
    label: Index
    threshold: float
    clean_only: Judged | None = None


def judge(gate: GateModule, x: Pixels) -> Judged:
    """Score many inputs in batches, by the gate and by its clean-only detector."""
    detectors: list[Detector] = [gate] if gate.clean_only is None else [gate, gate.clean_only]
    label, done = np.empty(len(x), np.int64), 0
    scores = np.empty((len(detectors), len(x)), np.float32)
    with torch.inference_mode():
        for part in tensors.batches(x, gate.signature.chunk or 128, gate.threshold.device):
            logits, features = gate.signature(part)
            rows = slice(done, done + len(part))
            for found, detector in zip(scores, detectors, strict=True):
                verdict = detector.verdict(logits, features)
                found[rows], label[rows] = verdict.score.cpu().numpy(), verdict.label.cpu().numpy()
            done += len(part)
    judged = [Judged(found, label, float(d.threshold)) for found, d in zip(scores, detectors, strict=True)]
    return replace(judged[0], clean_only=judged[1] if len(judged) > 1 else None)


Judge = Callable[[GateModule, Pixels], Judged]
"""What scores inputs as a gate does, see `judge`."""


def evaluate(
    gate: GateModule,
    x: Pixels,
    y: Index | None,
    attacked: Mapping[str, AttackedSet],
    *,
    target: float,
    corruptions: tuple[Corruption, ...] = (),
    seed: int = 0,
    examples: int = 0,
    judge: Judge = judge,
) -> Report:
    """Measure a gate.

    Args:
        gate: a calibrated gate.
        x: clean ``(n, channels, height, width)``, none of which was used in calibration.
        y: labels ``(n,)``; None where they are not known.
        attacked: attacked twins of some or all of ``x``, by name.
        target: false-positive rate that was asked for.
        corruptions: natural changes of ``x`` to count false alarms under.
        seed: seed of the corruptions and of the controls.
        examples: flagged inputs of each kind to keep with the scores, at most.
        judge: what scores inputs; by default the gate itself.
    """
    clean, bounds = judge(gate, x), gate.signature.classifier.bounds
    attacks: dict[str, AttackFigures] = {}
    natural: dict[str, CorruptionFigures] = {}
    changed: list[Changed] = []
    for name, twins in attacked.items():
        found = judge(gate, twins.pixels)
        control = judge(gate, Shuffled(twins.pixels, rows(x, twins.index), bounds, seed))
        success = found.label != clean.label[twins.index]
        attacks[name] = _attack_figures(clean, found, twins, y, control, success)
        changed.append(Changed("attacked", name, twins.pixels, twins.index, found.score, success))
    for corruption in corruptions:
        pixels = Mapped(x, partial(corruption, bounds=bounds, seed=seed))
        found = judge(gate, pixels)
        natural[corruption.name] = _corruption_figures(clean, found, y)
        every = np.arange(len(x))
        changed.append(Changed("natural", corruption.name, pixels, every, found.score, every >= 0))
    shares = p_values(gate.clean_scores.cpu().numpy(), clean.score)
    kept = scores(x, clean.score, clean.label, shares, changed, threshold=clean.threshold, examples=examples)
    return Report(clean.threshold, target, _clean_figures(clean, y), attacks, natural, kept)


def _clean_figures(clean: Judged, y: Index | None) -> CleanFigures:
    correct = None if y is None else clean.label == y
    return CleanFigures(
        n=len(clean.score),
        false_positive_rate=_flagged(clean),
        false_positive_rate_correct=None if correct is None else _flagged(clean, correct),
        false_positive_rate_misclassified=None if correct is None else _flagged(clean, ~correct),
        accuracy=None if correct is None else float(correct.mean()),
        passed_accuracy=None if correct is None else _mean(correct[clean.score <= clean.threshold]),
        clean_only_false_positive_rate=None if clean.clean_only is None else _flagged(clean.clean_only),
    )


def _attack_figures(
    clean: Judged, attacked: Judged, twins: AttackedSet, y: Index | None, control: Judged, success: NDArray[np.bool_]
) -> AttackFigures:
    passed = attacked.score <= attacked.threshold
    both = clean.clean_only, attacked.clean_only
    return AttackFigures(
        n=len(attacked.score),
        success_rate=float(success.mean()),
        **asdict(_detection(clean, attacked, success)),
        evasion_rate=float((success & passed).mean()),
        passed_accuracy=None if y is None else _mean((attacked.label == y[twins.index])[passed]),
        clean_only=None if both[0] is None or both[1] is None else _detection(both[0], both[1], success),
        control=ControlFigures(_flagged(control), auroc(control.score, attacked.score[success])),
    )


def _detection(clean: Judged, attacked: Judged, success: NDArray[np.bool_]) -> Detection:
    return Detection(
        auroc=auroc(clean.score, attacked.score),
        auroc_successes=auroc(clean.score, attacked.score[success]),
        detection_rate=_flagged(attacked),
        detection_rate_successes=_flagged(attacked, success),
        tpr_at_1=tpr_at(clean.score, attacked.score[success], 0.01),
        tpr_at_5=tpr_at(clean.score, attacked.score[success], 0.05),
    )


def _corruption_figures(clean: Judged, corrupted: Judged, y: Index | None) -> CorruptionFigures:
    unchanged = corrupted.label == clean.label
    return CorruptionFigures(
        n=len(corrupted.score),
        false_positive_rate=_flagged(corrupted),
        false_positive_rate_unchanged=_flagged(corrupted, unchanged),
        changed_rate=float(1 - unchanged.mean()),
        accuracy=None if y is None else float((corrupted.label == y).mean()),
        clean_only_false_positive_rate=None if corrupted.clean_only is None else _flagged(corrupted.clean_only),
    )


def _flagged(judged: Judged, some: NDArray[np.bool_] | slice = slice(None)) -> float:
    return share_above(judged.score[some], judged.threshold)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def without_nan(value: Any) -> Any:
    """Plain data in which NaN, a figure that does not exist, is None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
