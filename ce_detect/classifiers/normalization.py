"""Preprocessing inside the model, so that it travels with it and an attack has to go through it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ce_detect.classifiers.interface import device_of, dtype_of
from ce_detect.core.errors import ModelError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the training images of ImageNet, red, green and blue, for pixels in [0, 1]."""


class Normalized(nn.Module):
    """A model behind ``(scale * x - mean) / std``, as one model that takes plain pixels.

    >>> guard = DetectedModel(Normalized(model, mean=IMAGENET_MEAN, std=IMAGENET_STD))   # doctest: +SKIP

    It computes in the type and on the device of the model.

    Args:
        model: takes normalised images.
        mean: one number, or one a channel, subtracted after scaling.
        std: one number, or one a channel, to divide by.
        scale: factor on the pixels, such as 1 / 255 for a model that takes [0, 1] behind pixels from 0 to 255.

    Raises:
        ModelError: a standard deviation that is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        for name, value in (("mean", mean), ("std", std)):
            numbers = torch.tensor(value, dtype=dtype_of(model), device=device_of(model))
            self.register_buffer(name, numbers.reshape(-1, 1, 1))
        if not (self.std > 0).all():
            raise ModelError(f"std = {std} must be positive; give that of the images that the model was trained on")
        self.train(model.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels ``(batch, channels, height, width)`` to what the model returns."""
        logits: Tensor = self.model((self.scale * x - self.mean) / self.std)
        return logits
