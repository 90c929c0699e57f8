"""What PyTorch classifiers share, whether they are cut or hooked: how pixels go in and how the output is read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from ce_detect.classifiers.adapted import PREFIX, Output
from ce_detect.classifiers.base import Do, Trace


@dataclass(frozen=True, slots=True)
class Interface:
    """What a model takes, and how its output is read.

    Attributes:
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value.
        multi_label: whether several labels may hold at once.
        label: the one label that is watched, or None.
        column: column of the output that is read as the log-odds of class 1 against class 0; None for all columns as
            the logits of as many classes.
        output: which part of what the model returns was asked for as the logits, or None.
    """

    input_shape: tuple[int, int, int]
    bounds: tuple[float, float]
    multi_label: bool = False
    label: int | None = None
    column: int | None = None
    output: Output | None = None

    def logits(self, output: Tensor) -> Tensor:
        """Logits ``(batch, classes)``, float32, from what the model returns: one log-odds becomes two logits."""
        if self.column is None:
            return output.float()
        half = output.float().reshape(output.shape[0], -1)[:, self.column] / 2
        return torch.stack([-half, half], dim=1)

    def head_weight(self, weight: Tensor) -> Tensor:
        """Weight ``(classes, features)`` of the last layer as float32, read as `logits` reads its output."""
        if self.column is None:
            return weight.float()
        half = weight[self.column].float() / 2
        return torch.stack([-half, half])

    def probe(self, count: int, *, scale: float = 1.0) -> Tensor:
        """Smooth waves within the bounds: the same pixels on every machine and in every version.

        Args:
            count: number of inputs.
            scale: height and width, relative to ``input_shape``.

        Returns:
            ``(count, channels, height, width)``, float32.
        """
        channels, height, width = self.input_shape
        height, width = int(height * scale), int(width * scale)
        low, high = self.bounds
        n, c = torch.arange(count).view(-1, 1, 1, 1), torch.arange(channels).view(-1, 1, 1)
        rows, columns = torch.arange(height).view(-1, 1) / height, torch.arange(width) / width
        wave = torch.sin(6.28 * ((n + 1) * rows + (c + 2) * columns)) * torch.cos(12.56 * rows * columns + n)
        return (low + (high - low) * (wave + 1) / 2).to(torch.float32)


class BlackBoxModule(nn.Module):
    """A model that ONNX Runtime runs, without gradients or submodules; known as such where no ONNX is installed."""


class ModuleClassifier(nn.Module):
    """A classifier made of a PyTorch module, see `ce_detect.classifiers.base.Classifier`.

    Pixels are cast to the type of the model's weights on the way in; logits and latents are float32.
    """

    differentiable: bool = True
    captured: bool = False
    portable: bool = False
    sites: tuple[str, ...]
    elastic: bool
    head_weight: Tensor | None

    def __init__(self, model: nn.Module, interface: Interface) -> None:
        super().__init__()
        self.interface = interface
        self.input_shape: tuple[int, ...] = interface.input_shape
        self.bounds = interface.bounds
        self.multi_label = interface.multi_label and interface.column is None
        self.label = interface.label
        self.output = interface.output
        self.dtype = dtype_of(model)
        with torch.no_grad():
            self.num_classes = int(interface.logits(run(model, interface.probe(2))).shape[1])
        self._fingerprint = fingerprint(model)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return device_of(self)

    @property
    def tolerance(self) -> float:
        """Relative difference of logits that is rounding, in the type of the model's weights on their device."""
        return tolerance(self.dtype, self.device)

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Return logits and latents; see `ce_detect.classifiers.base.Classifier.trace`."""
        raise NotImplementedError

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Return the logits that follow from a latent; see `ce_detect.classifiers.base.Classifier.resume`."""
        raise NotImplementedError

    def trace_and_resume(
        self, x: Tensor, sites: tuple[str, ...], do: Mapping[str, Do]
    ) -> tuple[Trace, dict[str, Tensor]]:
        """Trace, then resume one by one; see `ce_detect.classifiers.base.Classifier.trace_and_resume`."""
        wanted = tuple(site for site in self.sites if site in sites or site in do)
        trace = self.trace(x, wanted)
        return trace, {site: self.resume(site, make(trace.latents.get(site, x)), x) for site, make in do.items()}

    def copied(self, site: str) -> nn.Module | None:
        """A copy of what leads to a site, where it can be cut out: here it cannot."""
        return None

    def fingerprint(self) -> str:
        """`fingerprint` of the model at the time of wrapping."""
        return self._fingerprint

    def probe(self, count: int = 1) -> Tensor:
        """Fixed inputs ``(count, channels, height, width)``, on its device; see `Interface.probe`."""
        return self.interface.probe(count).to(self.device)


def dtype_of(model: nn.Module) -> torch.dtype:
    """Type of the first floating-point parameter or buffer; float32 where there is none."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter or buffer; the CPU where there is none."""
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def run(model: nn.Module, x: Tensor) -> Tensor:
    """Run a bare model on pixels of any floating type and device; the pixels are left as they are."""
    with eagerly(model):
        output: Tensor = model(x.to(device_of(model), dtype_of(model), copy=True))  # some models write into their input
    return output


def tolerance(dtype: torch.dtype, device: torch.device) -> float:
    """Relative difference of logits that is rounding: 1e-3, and more in half precision.

    On CUDA convolutions of float32 may compute in TF32, whose ten bits are those of float16.
    """
    computed = torch.float16 if dtype is torch.float32 and device.type == "cuda" else dtype
    return max(1e-3, 8 * torch.finfo(computed).eps)


def agree(expected: Tensor, got: Tensor) -> bool:
    """Whether logits are equal but for rounding."""
    relative = tolerance(got.dtype, got.device)
    slack = relative * float(expected.abs().max())
    return expected.shape == got.shape and torch.allclose(expected, got, rtol=relative, atol=slack)


@contextlib.contextmanager
def eagerly(model: nn.Module) -> Iterator[None]:
    """Run parts of a model that are compiled as plain Python: compiled code does not see hooks."""
    if any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


def unwrapped_path(model: nn.Module, path: str) -> str:
    """Path of a submodule or a parameter without wrappers: of ``torch.compile``, ``DataParallel`` and `adapted`."""
    kept = []
    part: object = model
    for name in filter(None, path.split(".")):
        wrapper = name in ("_orig_mod", PREFIX) or (name == "module" and isinstance(part, nn.DataParallel))
        part = getattr(part, name, None)
        if not wrapper:
            kept.append(name)
    return ".".join(kept)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names, shapes, types and bytes of a model's parameters and buffers, saved with it or not."""
    tensors = {**dict(model.named_buffers()), **model.state_dict()}
    digest = hashlib.sha256()
    for name, tensor in sorted({unwrapped_path(model, name): tensor for name, tensor in tensors.items()}.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
