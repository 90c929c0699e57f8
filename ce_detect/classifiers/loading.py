"""Models: the embedded demo classifier, any other by the name of its factory, and ONNX files."""

from __future__ import annotations

import pickle
from pathlib import Path

from safetensors import SafetensorError

from ce_detect.core.errors import ModelError, UsageError
from ce_detect.core.extras import needed_for
from ce_detect.storage.importing import call_factory

with needed_for("Loading a model"):
    import safetensors.torch
    import torch
    from torch import Tensor, nn

    from ce_detect.demo.model import fashion_cnn


_FILES = {
    ".pt2": "torch.export.load({name!r}).module()",
    ".pt": "torch.jit.load({name!r}), or MyNet() with --weights {name} where it holds a state dict",
    ".pth": "MyNet(), give --weights {name}",
    ".safetensors": "MyNet(), give --weights {name}",
}
"""What opens a file that holds a model or its weights, by suffix."""


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
    if (suffix := Path(spec).suffix) in _FILES:
        raise UsageError(
            f"{spec!r} is a {suffix} file, which is not opened by name, as some of them run code. Write what opens it "
            f"into a file: def model(): return {_FILES[suffix].format(name=spec)}, and name that: file.py:model"
        )
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
    from ce_detect.classifiers import onnx  # its packages are needed for such files alone

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
