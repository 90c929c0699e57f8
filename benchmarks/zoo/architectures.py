"""Public architectures by family, with random weights: from packages, and from clones of public code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model that somebody else wrote.

    Attributes:
        family: what it is an example of.
        build: makes it with random weights; ImportError where its code is not there.
        side: height and width of its images.
    """

    family: str
    build: Callable[[], nn.Module]
    side: int


_TORCHVISION = {
    "AlexNet": ("alexnet",),
    "VGG": ("vgg11", "vgg16_bn"),
    "ResNet": ("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"),
    "DenseNet": ("densenet121",),
    "Inception": ("googlenet", "inception_v3"),
    "SqueezeNet": ("squeezenet1_1",),
    "MobileNet": ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet0_5"),
    "ShuffleNet": ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    "EfficientNet": ("efficientnet_b0", "efficientnet_v2_s"),
    "RegNet": ("regnet_x_400mf", "regnet_y_400mf"),
    "ConvNeXt": ("convnext_tiny",),
    "ViT": ("vit_b_16",),
    "Swin": ("swin_t", "swin_v2_t"),
    "MaxViT": ("maxvit_t",),
}

_TIMM = {
    "ResNet": ("resnet10t", "resnet26d", "seresnext26t_32x4d", "res2net50_14w_8s", "resnest14d"),
    "VGG": ("repvgg_a0",),
    "DLA": ("dla34",),
    "HRNet": ("hrnet_w18_small",),
    "NFNet": ("eca_nfnet_l0",),
    "RegNet": ("regnetx_002",),
    "GhostNet": ("ghostnet_050",),
    "MobileNet": ("mobilenetv3_small_050", "mobilenetv4_conv_small", "mobileone_s0", "lcnet_050", "hardcorenas_a"),
    "EfficientNet": ("efficientnet_lite0", "tf_efficientnet_b0", "tf_efficientnetv2_b0"),
    "ConvNeXt": ("convnext_atto", "convnextv2_atto", "edgenext_xx_small"),
    "ViT": (
        "vit_tiny_patch16_224", "deit_tiny_patch16_224", "beit_base_patch16_224", "cait_xxs24_224", "levit_128s",
        "xcit_nano_12_p16_224",
    ),
    "Swin": ("swin_tiny_patch4_window7_224",),
    "convolution and attention": ("coatnet_nano_rw_224", "mobilevit_xxs", "efficientformer_l1", "maxvit_pico_rw_256"),
    "MLP": ("mixer_s32_224", "poolformer_s12"),
}  # fmt: skip

_TRANSFORMERS = {
    "ViT": {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96},
    "DeiT": {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96},
    "Beit": {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96},
    "Swin": {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8], "window_size": 2},
    "ConvNext": {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1]},
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1]},
    "MobileNetV2": {"depth_multiplier": 0.35},
}

_KUANGLIU = {
    "VGG11": ("VGG", ("VGG11",)),
    **{
        name: (name, ())
        for name in (
            "LeNet", "ResNet18", "PreActResNet18", "GoogLeNet", "densenet_cifar", "ResNeXt29_2x64d", "MobileNet",
            "MobileNetV2", "DPN26", "ShuffleNetG2", "SENet18", "EfficientNetB0", "RegNetX_200MF", "PNASNetA", "DLA",
            "SimpleDLA",
        )
    },
    "ShuffleNetV2": ("ShuffleNetV2", (0.5,)),
}  # fmt: skip


def architectures(code: Path | None) -> dict[str, Architecture]:
    """All architectures by name, whether or not their packages are there.

    Args:
        code: folder with clones of kuangliu/pytorch-cifar and akamaster/pytorch_resnet_cifar10; None for none.
    """
    found = {
        f"torchvision {name}": Architecture(family, _torchvision(name), 299 if name == "inception_v3" else 224)
        for family, names in _TORCHVISION.items()
        for name in names
    }
    found |= {
        f"timm {name}": Architecture(family, _timm(name), 256 if name.endswith("256") else 224)
        for family, names in _TIMM.items()
        for name in names
    }
    found |= {
        f"transformers {name}": Architecture("transformers", _transformers(name, settings), 64)
        for name, settings in _TRANSFORMERS.items()
    }
    if code is not None:
        found |= {
            f"kuangliu {name}": Architecture("CIFAR", _cloned(code, "kuangliu", "models", *made), 32)
            for name, made in _KUANGLIU.items()
        }
        found |= {
            f"akamaster {name}": Architecture("CIFAR", _cloned(code, "akamaster", "resnet", name, ()), 32)
            for name in ("resnet20", "resnet56")
        }
    return found


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        models: Any = importlib.import_module("torchvision.models")
        settings = {"init_weights": True, "aux_logits": True} if name in {"googlenet", "inception_v3"} else {}
        made: nn.Module = getattr(models, name)(weights=None, **settings)
        return made

    return build


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        timm: Any = importlib.import_module("timm")
        made: nn.Module = timm.create_model(name, pretrained=False)
        return made

    return build


def _transformers(name: str, settings: dict[str, Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        transformers: Any = importlib.import_module("transformers")
        config = getattr(transformers, f"{name}Config")(image_size=64, num_labels=10, **settings)
        made: nn.Module = getattr(transformers, f"{name}ForImageClassification")(config)
        return made

    return build


def _cloned(code: Path, owner: str, module: str, name: str, arguments: tuple[Any, ...]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        folder = next((path for path in code.glob(f"{owner}*") if path.is_dir()), None)
        if folder is None:
            raise ImportError(f"there is no clone of {owner}'s code in {code}")
        sys.path.insert(0, str(folder))
        made: nn.Module = getattr(importlib.import_module(module), name)(*arguments)
        return made

    return build
