"""A device that is not there: its tensors are on the CPU, but no more may be done with them than if they were not.

What PyTorch refuses on a machine with CUDA is refused here: operations that mix devices, ``numpy()`` of what is
elsewhere, random numbers from a generator of another device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, _pop_mode_temporarily
from torch.utils._pytree import tree_leaves

from ce_detect.classifiers import capture
from ce_detect.export import fused_graph

DEVICE = torch.device("cuda", 0)

_ARRAYS = (Tensor.numpy, Tensor.__array__)
_MIXING = (Tensor.copy_, Tensor.__setitem__, Tensor.data.__set__, torch._has_compatible_shallow_copy_type)
"""What takes tensors of two devices."""


class Elsewhere(TorchFunctionMode):
    """Keeps book of what is elsewhere, by the memory that it is in."""

    def __init__(self) -> None:
        super().__init__()
        self._memory: dict[int, StorageWeakRef] = {}

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is elsewhere."""
        return tensor.layout is torch.strided and tensor.untyped_storage()._cdata in self._memory

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch as it would run with two devices."""
        kwargs = dict(kwargs or {})
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in given if self.holds(tensor)]
        if function == Tensor.device.__get__:
            return DEVICE if there else function(*args)
        if function == Tensor.is_cuda.__get__:
            return bool(there)
        if function in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(function, args, kwargs)
        if there and function in _ARRAYS:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first")
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = "cpu"
        lands = bool(there) if asked is None else torch.device(asked).type == DEVICE.type
        self._check(function, args, given, there)
        if lands and isinstance(kwargs.get("generator"), torch.Generator):
            raise RuntimeError(f"Expected a '{DEVICE.type}' device type for generator but found 'cpu'")
        made = function(*args, **kwargs)
        if function in (*_MIXING, Tensor.__getitem__):
            lands = self.holds(args[0])
        return self._put(made) if lands else made

    def _check(self, function: Any, args: tuple[Any, ...], given: list[Tensor], there: list[Tensor]) -> None:
        """Refuse what mixes devices; a number on the CPU mixes with everything, and a tensor is indexed from there."""
        here = [tensor for tensor in given if tensor.ndim and not self.holds(tensor)]
        indexed = function is Tensor.__getitem__ and self.holds(args[0])
        if there and here and not indexed and function not in _MIXING:
            raise RuntimeError(f"Expected all tensors to be on the same device, in {function}")

    def _moved(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        tensor, *others = args
        before = self.holds(tensor)
        after = {Tensor.cpu: False, Tensor.cuda: True}.get(function, before)
        for position, other in enumerate(others):
            if isinstance(other, Tensor):
                after, others[position : position + 1] = self.holds(other), ["cpu", other.dtype]
            elif isinstance(other, str | torch.device):
                after, others[position] = torch.device(other).type == DEVICE.type, "cpu"
        if kwargs.get("device") is not None:
            after, kwargs["device"] = torch.device(kwargs["device"]).type == DEVICE.type, "cpu"
        made: Tensor = tensor if function is not Tensor.to else tensor.to(*others, **kwargs)
        if after != before and made.untyped_storage()._cdata == tensor.untyped_storage()._cdata:
            made = made.clone()
        return self._put(made) if after else made

    def _put(self, made: Any) -> Any:
        """Note that tensors are elsewhere."""
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and not tensor.is_meta:
                storage = tensor.untyped_storage()
                self._memory.setdefault(storage._cdata, StorageWeakRef(storage))
        if len(self._memory) > 20_000:
            self._memory = {place: kept for place, kept in self._memory.items() if not kept.expired()}
        return made


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Give the device; ``torch.export`` and ART see what they would see of it."""
    mode = Elsewhere()

    def outside(function: Callable[..., Any]) -> Callable[..., Any]:
        """On the CPU: graphs of tensors elsewhere are what they are here."""

        def called(*args: Any, **kwargs: Any) -> Any:
            with _pop_mode_temporarily():
                return function(*args, **kwargs)

        return called

    with pytest.MonkeyPatch.context() as patch, mode:
        patch.setattr(capture, "_export", outside(capture._export))
        patch.setattr(fused_graph, "_captured", outside(fused_graph._captured))
        patch.setattr(fused_graph, "_converted", outside(fused_graph._converted))
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "current_device", lambda: DEVICE.index)
        patch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.zeros(1))
        patch.setattr(torch.cuda, "set_rng_state", lambda *_: None)
        patch.setattr(torch.accelerator, "synchronize", lambda *_: None)
        yield DEVICE
