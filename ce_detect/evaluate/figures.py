"""Figures of a gate: on clean inputs, on one attack, under one corruption."""

from __future__ import annotations

from dataclasses import dataclass


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
        clean_only_false_positive_rate: share that the clean-only detector flags; None where the gate has none beside.
    """

    n: int
    false_positive_rate: float
    false_positive_rate_correct: float | None
    false_positive_rate_misclassified: float | None
    accuracy: float | None
    passed_accuracy: float | None
    clean_only_false_positive_rate: float | None


@dataclass(frozen=True, slots=True)
class Detection:
    """How well scores tell the attempts of one attack from clean inputs; see `AttackFigures`."""

    auroc: float
    auroc_successes: float
    detection_rate: float
    detection_rate_successes: float
    tpr_at_1: float
    tpr_at_5: float


@dataclass(frozen=True, slots=True)
class ControlFigures:
    """Perturbations of an attack with their pixels shuffled: as large, but no attack; see `ce_detect.attacks.controls`.

    Attributes:
        flagged: share of them that is flagged; each is a false alarm.
        auroc: of successful attempts against them.
    """

    flagged: float
    auroc: float


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
        clean_only: what the detector that no attack taught does, at its own threshold; None where the gate has none
            beside.
        control: the same perturbations with their pixels shuffled, which are no attack.
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
    clean_only: Detection | None
    control: ControlFigures


@dataclass(frozen=True, slots=True)
class CorruptionFigures:
    """One kind of natural change; every flag is a false alarm.

    Attributes:
        n: number of inputs.
        false_positive_rate: share that is flagged.
        false_positive_rate_unchanged: the same over inputs whose decision is that of the plain image.
        changed_rate: share whose decision is another than that of the plain image.
        accuracy: of the classifier under the corruption; None without labels.
        clean_only_false_positive_rate: share that the clean-only detector flags; None where the gate has none beside.
    """

    n: int
    false_positive_rate: float
    false_positive_rate_unchanged: float
    changed_rate: float
    accuracy: float | None
    clean_only_false_positive_rate: float | None
