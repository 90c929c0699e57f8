"""Running a gate: what runs which gate, and how many inputs are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ce_detect.data import tensors
from ce_detect.data.lazy import batch_size
from ce_detect.detector.cascade import Staged
from ce_detect.detector.compiled import Compiled
from ce_detect.detector.detector import Detector, Verdict
from ce_detect.detector.gate import GateModule
from ce_detect.heads.cascade import CascadedHead
from ce_detect.verdict.result import GateResult

Runner = Callable[[Tensor], tuple[Tensor, ...]]


class Inference:
    """Judges by a gate what the gate's `forward` judges, without gradients and as fast as it goes.

    A gate with a cascade runs in stages, see `Staged`; any other runs compiled, see `Compiled`. Keep one of these for a
    gate: it keeps the programs, which hold tensors of the gate.

    Programs are made anew where the gate was moved, loaded another state or got another threshold. All of these show in
    the tensor of its threshold, and nothing else is looked at: to look at all tensors takes as long as a small model.
    Whoever changes only others, in place, calls `reset`.

    Attributes:
        gate: a calibrated gate.
    """

    def __init__(self, gate: GateModule) -> None:
        self.gate = gate
        self._made: tuple[Runner, Tensor, int] | None = None

    def judge(self, x: Tensor) -> Verdict:
        """Judge inputs ``(batch, channels, height, width)`` on the gate's device, all at once."""
        with torch.inference_mode():
            return Verdict(*self._runner()(x))

    def judge_all(self, x: Tensor, detector: Detector | None = None) -> Verdict:
        """Judge many inputs, as many at a time as the signature takes, or fewer where they are large.

        Args:
            x: inputs ``(n, channels, height, width)``, wherever they are.
            detector: judges the gate's signatures in its place.

        Returns:
            Tensors on the gate's device.
        """
        parts = list(self._parts(x, detector))
        return parts[0] if len(parts) == 1 else Verdict(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def result(self, x: Any, detector: Detector | None = None) -> GateResult:
        """Check inputs and judge them.

        Args:
            x: NumPy array or tensor ``(batch, channels, height, width)``, floating point, within the bounds.
            detector: judges the gate's signatures in its place.

        Returns:
            Arrays of the caller's kind: NumPy for NumPy, tensors on the gate's device for tensors.

        Raises:
            InputError: the array cannot be judged.
        """
        classifier = self.gate.signature.classifier
        checked = tensors.checked(x, input_shape=classifier.input_shape, bounds=classifier.bounds)
        columns = self.judge_all(checked, detector)
        arrays = columns if isinstance(x, Tensor) else [column.cpu().numpy() for column in columns]
        fields = dict(zip(Verdict._fields, arrays, strict=True))
        return GateResult(**fields, threshold=float((detector or self.gate).threshold))

    def reset(self) -> None:
        """Forget all programs: something in the gate has changed."""
        self._made = None

    def _parts(self, x: Tensor, detector: Detector | None) -> Iterator[Verdict]:
        for part in x.split(batch_size(self.gate.signature.batch, x.shape[1:])):
            batch = part.to(self.gate.threshold.device)
            if detector is None:
                yield self.judge(batch)
            else:
                with torch.inference_mode():
                    yield detector.verdict(*self.gate.signature(batch))

    def _runner(self) -> Runner:
        threshold = self.gate.threshold
        version = 0 if threshold.is_inference() else threshold._version
        made = self._made
        if made is None or made[1] is not threshold or made[2] != version:
            staged = isinstance(self.gate.head, CascadedHead)
            made = self._made = (Staged(self.gate) if staged else Compiled(self.gate), threshold, version)
        return made[0]
