"""The demo classifier, and where its images are; torch is needed for the classifier alone."""

from __future__ import annotations

from importlib.resources import files

from ce_detect.core.extras import needed_for

with needed_for("The demo classifier"):
    import safetensors.torch
    import torch
    from torch import Tensor, nn


class FashionCNN(nn.Module):
    """A small plain CNN for Fashion-MNIST, the demo classifier.

    Three stages of convolution, batch norm and ReLU at full, half and quarter resolution, then global average pooling
    and a linear head. Fully convolutional: any height and width of at least one pixel will do.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.2860))  # of the training split, for pixels in [0, 1]
        self.register_buffer("std", torch.tensor(0.3530))
        self.stage1 = nn.Sequential(*_conv(1, 16), *_conv(16, 16))
        self.stage2 = nn.Sequential(*_conv(16, 32, stride=2), *_conv(32, 32), *_conv(32, 32))
        self.stage3 = nn.Sequential(*_conv(32, 64, stride=2), *_conv(64, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map grey images ``(batch, 1, H, W)`` with pixels in [0, 1] to logits ``(batch, 10)``."""
        x = (x - self.mean) / self.std
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def _conv(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def fashion_cnn() -> FashionCNN:
    """Return the demo classifier with its packaged weights, in eval mode.

    The weights come from ``benchmarks/subjects/train_demo.py``, which prints their test accuracy.
    """
    return _loaded("fashion_cnn")


def fashion_cnn_light() -> FashionCNN:
    """Return the same, trained on with images in other light, in eval mode: ``ce-detect demo`` shows this one.

    A mild change of contrast moves the decision of `fashion_cnn` on every fourth image, so that a gate has much to flag
    there. The weights come from ``benchmarks/subjects/train_demo.py --light``; they have 16 bits each.
    """
    return _loaded("fashion_cnn_light")


def _loaded(name: str) -> FashionCNN:
    model = FashionCNN()
    weights = (files("ce_detect.demo") / "assets" / f"{name}.safetensors").read_bytes()
    state = safetensors.torch.load(weights)
    model.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return model.eval()
