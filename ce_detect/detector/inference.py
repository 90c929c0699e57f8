"""Running a gate over many inputs: from an array to verdicts in the same kind of array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ce_detect.data import tensors
from ce_detect.detector.detector import Detector, Verdict
from ce_detect.detector.gate import GateModule
from ce_detect.verdict.result import GateResult


def result(gate: GateModule, x: Any, detector: Detector | None = None) -> GateResult:
    """Check inputs and judge them.

    Args:
        gate: a calibrated gate.
        x: NumPy array or tensor ``(batch, channels, height, width)``, floating point, within the bounds.
        detector: judges the gate's signatures in its place.

    Returns:
        Arrays of the caller's kind: NumPy for NumPy, tensors on the gate's device for tensors.

    Raises:
        InputError: the array cannot be judged.
    """
    classifier = gate.signature.classifier
    verdicts = list(
        run(gate, tensors.checked(x, input_shape=classifier.input_shape, bounds=classifier.bounds), detector)
    )
    columns = verdicts[0] if len(verdicts) == 1 else [torch.cat(parts) for parts in zip(*verdicts, strict=True)]
    arrays = columns if isinstance(x, Tensor) else [column.cpu().numpy() for column in columns]
    fields = dict(zip(Verdict._fields, arrays, strict=True))
    return GateResult(**fields, threshold=float((detector or gate).threshold))


def run(gate: GateModule, x: torch.Tensor, detector: Detector | None = None) -> Iterable[Verdict]:
    """Run the gate over batches of at most ``gate.signature.chunk`` inputs, on the classifier's device.

    Args:
        gate: a calibrated gate.
        x: inputs ``(n, channels, height, width)``.
        detector: judges the gate's signatures in its place.
    """
    with torch.inference_mode():
        for part in x.split(gate.signature.chunk or 128):
            batch = part.to(gate.threshold.device)
            yield gate.judge(batch) if detector is None else detector.verdict(*gate.signature(batch))
