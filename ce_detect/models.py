"""Models: the embedded demo classifier, any other by the name of its factory, and ONNX files."""

from __future__ import annotations

import pickle
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError

from ce_detect.errors import MissingExtraError, ModelError, UsageError
from ce_detect.factory import call_factory

try:
    import safetensors.torch
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtraError("torch", "calibrate", "Loading a model") from error


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

    The weights come from ``benchmarks/train_demo.py``, which prints their test accuracy.
    """
    model = FashionCNN()
    weights = (files("ce_detect") / "assets" / "fashion_cnn.safetensors").read_bytes()
    model.load_state_dict(safetensors.torch.load(weights))
    return model.eval()


def load_model(spec: str, weights: str | Path | None = None) -> nn.Module:
    """Build the model that ``spec`` names and load its weights.

    Args:
        spec: ``package.module:factory`` or ``path/to/file.py:factory``, where ``factory()`` returns an ``nn.Module``;
            or ``demo`` for the embedded classifier. Naming a Python file runs it: name only code that you trust. Or an
            ``.onnx`` file, see `ce_detect.classifiers.onnx.load`; reading one runs nothing.
        weights: a state dict, either ``.safetensors``, or ``.pt``/``.pth`` read with ``weights_only=True`` so that
            it executes nothing. By default the model keeps what its factory gave it.

    Returns:
        The model in eval mode.

    Raises:
        UsageError: ``spec`` names no factory, or ``weights`` is not a file of a known kind or not needed.
        ModelError: the factory returned something else than a module, or the weights cannot be read or do not fit.
    """
    if spec.endswith(".onnx"):
        if weights is not None:
            raise UsageError(f"{spec!r} is an ONNX file, which holds its weights: leave out weights = {str(weights)!r}")
        return from_onnx(spec)
    model = fashion_cnn() if spec == "demo" else call_factory(spec)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"the factory {spec!r} returned {type(model).__name__}, expected a torch.nn.Module; "
            "return the model itself, not its class, its weights or a tuple"
        )
    if weights is not None:
        _load_weights(model, Path(weights))
    return model.eval()


def from_onnx(path: str | Path) -> nn.Module:
    """Read a classifier from an ONNX file; see `ce_detect.classifiers.onnx.load`.

    Raises:
        ModelError: not the ONNX file of a classifier.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    if Path(path).suffix != ".onnx":
        raise ModelError(
            f"{str(path)!r} is not the name of an .onnx file. Give a torch.nn.Module, or let "
            "ce_detect.load_model('package.module:factory') make one"
        )
    from ce_detect.classifiers import onnx

    return onnx.load(path)


def _load_weights(model: nn.Module, path: Path) -> None:
    state = _read_state(path)
    try:
        keys = model.load_state_dict(state, strict=False)  # strict below, with a shorter message
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"{path} does not fit {type(model).__name__}: {reason}") from error
    problems = [
        f"{len(names)} {kind}, first {names[0]!r}"
        for kind, names in (("missing keys", keys.missing_keys), ("unexpected keys", keys.unexpected_keys))
        if names
    ]
    if problems:
        raise ModelError(
            f"{path} does not fit {type(model).__name__}: {'; '.join(problems)}. "
            "Give the factory that built the model these weights were saved from"
        )


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix not in {".safetensors", ".pt", ".pth"}:
        raise UsageError(f"weights {str(path)!r} end in {path.suffix!r}, expected .safetensors, .pt or .pth")
    if not path.is_file():
        raise UsageError(f"there is no weights file {str(path)!r}; check the path")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as a state dict: {(str(error) or repr(error)).splitlines()[0]}. "
            "Whole pickled models are refused because loading one runs code; save model.state_dict() instead"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        held = f"a dict of {sorted(map(str, state))[:5]}" if isinstance(state, dict) else type(state).__name__
        raise ModelError(f"{path} holds {held}, expected tensors by name; save model.state_dict() by itself")
    return state
