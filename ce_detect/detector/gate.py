"""The gate: one module from inputs to verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from ce_detect.detector.cascade import Staged
from ce_detect.detector.compiled import Compiled
from ce_detect.detector.detector import Detector, Verdict
from ce_detect.features.signature import Signature
from ce_detect.heads.base import Head
from ce_detect.heads.cascade import CascadedHead


class GateModule(Detector):
    """Signature and detector in one module: differentiable up to the score, exportable as one graph.

    Attributes:
        signature: inputs to logits and features.
        clean_only: a second detector on the same signature that no attack taught; `forward` leaves it alone. None where
            the detector itself is of that kind.
    """

    def __init__(
        self,
        signature: Signature,
        head: Head,
        *,
        clean_scores: Tensor,
        threshold: float,
        prevalence: float,
        clean_only: Detector | None = None,
    ) -> None:
        super().__init__(head, clean_scores=clean_scores, threshold=threshold, prevalence=prevalence)
        self.signature = signature
        self.clean_only = clean_only
        self._run = self._runner()

    def forward(self, x: Tensor) -> Verdict:
        """Judge inputs ``(batch, channels, height, width)``."""
        return self.verdict(*self.signature(x))

    def judge(self, x: Tensor) -> Verdict:
        """The same without gradients and as fast as it goes, see `ce_detect.detector.compiled` and `.cascade`."""
        with torch.inference_mode():
            return Verdict(*self._run(x))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._run = self._runner()  # what was traced holds the tensors of before
        return moved

    def _runner(self) -> Compiled | Staged:
        return Staged(self) if isinstance(self.head, CascadedHead) else Compiled(self)
