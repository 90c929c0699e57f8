"""A classifier as the Adversarial Robustness Toolbox (ART) wants to see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import nn

from ce_detect.classifiers.base import Classifier


class Estimator(PyTorchClassifier):  # type: ignore[misc]
    """ART's PyTorch classifier, mended where ART 1.20.1 breaks or crawls.

    - Everything is cast to float32 at the door: under NumPy 2, HopSkipJump and Boundary pass float64.
    - ``class_gradient`` takes one backward pass for one label an image; ART takes one for each distinct label, which
      makes Carlini-Wagner and DeepFool several times slower.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(
            model=_Logits(classifier),
            loss=nn.CrossEntropyLoss(),
            input_shape=classifier.input_shape,
            nb_classes=classifier.num_classes,
            clip_values=classifier.bounds,
            device_type="gpu" if classifier.device.type == "cuda" else "cpu",
        )
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)

    def predict(
        self, x: NDArray[Any], batch_size: int = 128, training_mode: bool = False, **_: Any
    ) -> NDArray[np.float32]:
        """Return logits ``(batch, classes)``, without gradients."""
        with torch.no_grad():
            logits = [self._model(batch)[-1] for batch in self._tensor(x).split(batch_size)]
        return np.asarray(torch.cat(logits).cpu().numpy(), dtype=np.float32)

    def class_gradient(
        self, x: NDArray[Any], label: Any = None, training_mode: bool = False, **_: Any
    ) -> NDArray[np.float32]:
        """Return gradients of logits, ``(batch, classes or 1, channels, height, width)``.

        Args:
            x: ``(batch, channels, height, width)``.
            label: one class for all, one class an image, or None for every class.
            training_mode: ignored; the model stays in eval mode.
        """
        inputs = self._tensor(x).requires_grad_(True)
        logits = self._model(inputs)[-1]
        if label is None:
            rows = torch.eye(logits.shape[1], device=logits.device)
            columns = [torch.autograd.grad(logits, inputs, row.expand_as(logits), retain_graph=True)[0] for row in rows]
            return np.asarray(torch.stack(columns, dim=1).cpu().numpy())
        labels = torch.as_tensor(np.broadcast_to(np.asarray(label), (len(inputs),)).copy(), device=logits.device)
        (gradient,) = torch.autograd.grad(logits.gather(1, labels.long()[:, None]).sum(), inputs)
        return np.asarray(gradient[:, None].cpu().numpy())

    def _tensor(self, x: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(x, dtype=np.float32), device=self._device)


class _Logits(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier.logits(x.float())
