"""A classifier as the Adversarial Robustness Toolbox (ART) wants to see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import nn

from ce_detect.attacks.registry import Access
from ce_detect.classifiers.base import Classifier
from ce_detect.core.types import Index

_LEAST_BATCH = 64
"""Images predicted together at least: some attacks ask for one at a time."""


class Estimator(PyTorchClassifier):  # type: ignore[misc]
    """ART's PyTorch classifier, patched where ART 1.20.1 breaks or crawls.

    - Everything is cast to float32 at the door: under NumPy 2, HopSkipJump and Boundary pass float64.
    - ``class_gradient`` takes one backward pass for one label an image; ART takes one for each distinct label, which
      makes DeepFool and ElasticNet several times slower.
    - An attack is shown no more than it claims to need: without white-box access there is no gradient, and with access
      to decisions alone the outputs are 1 for the label and 0 elsewhere.

    Args:
        classifier: what is attacked.
        access: what the attacker sees.
        unit: map pixels from [0, 1] to the bounds of the classifier.
    """

    def __init__(self, classifier: Classifier, *, access: Access = "white-box", unit: bool = False) -> None:
        device = classifier.device
        super().__init__(
            model=_Seen(classifier, access, unit),
            loss=nn.CrossEntropyLoss(),
            input_shape=classifier.input_shape,
            nb_classes=classifier.num_classes,
            clip_values=(0.0, 1.0) if unit else classifier.bounds,
            device_type="gpu" if device.type == "cuda" else "cpu",
        )
        self._device = device  # ART knows the CPU and one GPU, and has moved the model there
        self._model.to(device)
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)

    def predict(
        self, x: NDArray[Any], batch_size: int = 128, training_mode: bool = False, **_: Any
    ) -> NDArray[np.float32]:
        """Return logits ``(batch, classes)``, or decisions as 0 and 1, without gradients."""
        with torch.no_grad():
            outputs = [self.logits(batch) for batch in self.tensor(x).split(max(batch_size, _LEAST_BATCH))]
        return np.asarray(torch.cat(outputs).cpu().numpy(), dtype=np.float32)

    def labels(self, x: NDArray[Any]) -> Index:
        """Return decisions ``(batch,)``."""
        return np.asarray(self.predict(x).argmax(1))

    def class_gradient(
        self, x: NDArray[Any], label: Any = None, training_mode: bool = False, **_: Any
    ) -> NDArray[np.float32]:
        """Return gradients of outputs, ``(batch, classes or 1, channels, height, width)``.

        Args:
            x: ``(batch, channels, height, width)``.
            label: one class for all, one class an image, or None for every class.
            training_mode: ignored; the model stays in eval mode.
        """
        inputs = self.tensor(x).requires_grad_(True)
        outputs = self.logits(inputs)
        if label is None:
            rows = torch.eye(outputs.shape[1], device=outputs.device)
            columns = [
                torch.autograd.grad(outputs, inputs, row.expand_as(outputs), retain_graph=True)[0] for row in rows
            ]
            return np.asarray(torch.stack(columns, dim=1).cpu().numpy())
        labels = torch.as_tensor(np.broadcast_to(np.asarray(label), (len(inputs),)).copy(), device=outputs.device)
        (gradient,) = torch.autograd.grad(outputs.gather(1, labels.long()[:, None]).sum(), inputs)
        return np.asarray(gradient[:, None].cpu().numpy())

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs ``(batch, classes)``, differentiable where the attacker may see gradients."""
        outputs: torch.Tensor = self._model(x)[-1]
        return outputs

    def tensor(self, x: NDArray[Any]) -> torch.Tensor:
        """Return images as float32 on the classifier's device."""
        return torch.as_tensor(np.ascontiguousarray(x, dtype=np.float32), device=self._device)


class _Seen(nn.Module):
    """What the attacker sees of a classifier."""

    def __init__(self, classifier: Classifier, access: Access, unit: bool) -> None:
        super().__init__()
        self.classifier, self.access = classifier, access
        low, high = classifier.bounds if unit else (0.0, 1.0)
        self.offset, self.width = low, high - low

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        if (self.offset, self.width) != (0.0, 1.0):
            x = x * self.width + self.offset
        if self.access == "white-box":
            return self.classifier.logits(x)
        with torch.no_grad():
            logits = self.classifier.logits(x)
        if self.access == "decisions":
            return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()
        return logits
