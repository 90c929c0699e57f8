"""A detector with the interface of pytorch-ood, for its loops and metrics; pytorch-ood itself is not needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Self

from ce_detect.core.errors import NotCalibratedError
from ce_detect.core.extras import needed_for

with needed_for("The pytorch-ood-like detector"):
    import torch
    from torch import Tensor, nn

    from ce_detect.guard.detected_model import DetectedModel


class CausalEffectDetector:
    """Scores inputs as pytorch-ood's detectors do: larger = more adversarial.

    >>> detector = CausalEffectDetector(model, fpr=0.01).fit(loader_clean)   # doctest: +SKIP
    >>> scores = detector.predict(x)                                         # doctest: +SKIP
    >>> metrics.update(scores, y)                                            # doctest: +SKIP

    ``fit_features`` is left out: which interventions make the features is itself found by `fit`.

    Args:
        model: a PyTorch model in eval mode, or a `DetectedModel`, calibrated or not.
        settings: of `ce_detect.CalibrationSettings`, such as ``fpr``, ``budget`` and ``recipe``.

    Attributes:
        guard: the `DetectedModel` behind.
        requires_fit: read by pytorch-ood's benchmarks.
    """

    requires_fit = True

    def __init__(self, model: nn.Module | DetectedModel, **settings: Any) -> None:
        self.guard = model if isinstance(model, DetectedModel) else DetectedModel(model)
        self.settings = settings

    def to(self, device: str | torch.device) -> Self:
        """Move the model and, once there is one, the gate."""
        self.guard.model.to(device)
        with contextlib.suppress(NotCalibratedError):
            self.guard.gate.to(device)
        return self

    def fit(self, data_loader: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """Calibrate on clean images, and attack them as the recipe says.

        Args:
            data_loader: batches of images ``(batch, channels, height, width)`` and classes ``(batch,)``. As in
                pytorch-ood a negative class marks an outlier, which is left out.

        Returns:
            Itself, calibrated.
        """
        self.guard.calibrate(_inliers(data_loader), **self.settings)
        return self

    def predict(self, x: Tensor) -> Tensor:
        """Return scores ``(batch,)`` of images ``(batch, channels, height, width)``, on the model's device.

        Raises:
            NotCalibratedError: neither fitted nor made from a calibrated `DetectedModel`.
            InputError: the images cannot be judged.
        """
        scores: Tensor = self.guard(x).score
        return scores

    __call__ = predict

    @torch.no_grad()
    def predict_features(self, x: Tensor) -> Tensor:
        """Return scores ``(batch,)`` of signatures ``(batch, features)``, as ``guard.gate.signature(images)[1]`` gives.

        Raises:
            NotCalibratedError: neither fitted nor made from a calibrated `DetectedModel`.
        """
        gate = self.guard.gate
        scores: Tensor = gate.head(x.to(gate.threshold.device))
        return scores


def _inliers(data_loader: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    for x, y in data_loader:
        known = y >= 0
        if known.any():
            yield x[known], y[known]
