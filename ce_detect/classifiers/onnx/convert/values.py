"""What flows along the edges of a converted graph: tensors, and plain numbers such as sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # comes with torch; in typing from Python 3.13 on

Numbers = NDArray[Any]
"""An array of Python objects: numbers, of which some are symbols while ``torch.export`` looks on. Sizes are computed
with these and not with tensors, so that a captured graph keeps its batch size free."""

Value = Tensor | Numbers

MOST_NUMBERS = 4096
"""Largest constant of whole numbers that is kept as numbers; a larger one is a table that something is looked up in."""


class UnconvertibleError(Exception):
    """A node for which there is no PyTorch operation; the graph runs as a black box then."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of an ONNX graph.

    Attributes:
        kind: its ``op_type``, or ``"Linear"`` for a product with a constant matrix.
        inputs: names of the values it takes, empty where one is left out.
        outputs: names of the values it gives.
        attributes: as Python values; tensors are arrays.
        opset: version of the operator set.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 20

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)


def is_numbers(value: object) -> TypeIs[Numbers]:
    """Whether a value is an array of plain numbers."""
    return isinstance(value, np.ndarray)


def as_numbers(items: Any) -> Numbers:
    """Numbers ``(n,)`` from a list of numbers and symbols."""
    listed = list(items)
    array = np.empty(len(listed), object)
    for i, item in enumerate(listed):
        array[i] = item
    return array


def scalar(number: Any) -> Numbers:
    """One number, of no dimension."""
    array = np.empty((), object)
    array[()] = number
    return array


def sizes(value: Value | None) -> list[Any]:
    """A list of whole numbers, from what an operation takes as shape, axes or positions.

    Raises:
        UnconvertibleError: they are computed from pixels.
    """
    if not is_numbers(value):
        raise UnconvertibleError("a shape or a position that depends on pixels")
    return list(value.reshape(-1))


def as_tensor(value: Value, like: Tensor | None = None) -> Tensor:
    """A tensor, from numbers too; of the type of ``like`` where both are floating point."""
    if not is_numbers(value):
        return value
    made = torch.tensor(value.tolist(), device=None if like is None else like.device)
    return made.to(like.dtype) if like is not None and made.is_floating_point() and like.is_floating_point() else made


def operand(value: Value, like: Tensor) -> Tensor | Any:
    """A tensor, or a Python number where there is only one, so that it takes the type of the other operand."""
    if is_numbers(value) and value.size == 1 and value.ndim <= like.ndim:
        return value.reshape(-1)[0]
    return as_tensor(value, like)


def constant(array: NDArray[Any]) -> Value:
    """A constant of a graph: whole numbers and single numbers as numbers, all else as a tensor."""
    if array.ndim == 0 or (array.dtype.kind in "iub" and array.size <= MOST_NUMBERS):
        return np.asarray(array).astype(object)
    return torch.from_numpy(np.array(array))
