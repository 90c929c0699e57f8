"""Running a gate over many inputs."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ce_detect.detector.detector import Detector, Verdict
from ce_detect.detector.gate import GateModule


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
