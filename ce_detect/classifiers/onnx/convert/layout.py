"""ONNX operations that move values or compute with shapes, as PyTorch functions and on plain numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.onnx.convert.values import (
    MOST_NUMBERS,
    Node,
    UnconvertibleError,
    Value,
    as_numbers,
    as_tensor,
    constant,
    is_numbers,
    scalar,
    sizes,
)


def _axes(node: Node, axes: Value | None) -> list[int] | None:
    """Axes of a node, which are an attribute in older operator sets."""
    if axes is not None:
        return [int(a) for a in sizes(axes)]
    listed: list[int] | None = node.get("axes", None)
    return listed


def _constant(node: Node) -> Value:
    (value,) = node.attributes.values()
    return constant(np.asarray(value))


def _constant_of_shape(node: Node, shape: Value) -> Value:
    filled = np.asarray(node.get("value", np.zeros(1, np.float32))).reshape(-1)[0]
    wanted = sizes(shape)
    if filled.dtype.kind in "iub" and all(isinstance(n, int) for n in wanted) and math.prod(wanted) <= MOST_NUMBERS:
        return np.full(wanted, filled.item(), object)
    return torch.full(wanted, filled.item(), dtype=torch.from_numpy(np.asarray(filled)[None].copy()).dtype)


def _shape(node: Node, x: Value) -> Value:
    return as_numbers(list(x.shape)[node.get("start", 0) : node.get("end", None)])


def _size(_: Node, x: Value) -> Value:
    return scalar(x.size if is_numbers(x) else x.numel())


def _range(_: Node, start: Value, limit: Value, step: Value) -> Value:
    first, end, by = (sizes(v)[0] for v in (start, limit, step))
    if all(isinstance(n, int) for n in (first, end, by)):
        return as_numbers(range(first, end, by))
    return torch.arange(first, end, by)


def _reshape(node: Node, x: Value, shape: Value) -> Value:
    wanted = sizes(shape)
    if not node.get("allowzero", 0):
        wanted = [x.shape[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis % x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(node: Node, x: Value) -> Value:
    order = node.get("perm", list(range(x.ndim))[::-1])
    return x.transpose(order) if is_numbers(x) else x.permute(order)


def _squeeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    chosen = _axes(node, axes)
    if chosen is None:
        chosen = [i for i, n in enumerate(x.shape) if i and isinstance(n, int) and n == 1]  # never the batch
    if is_numbers(x):
        return np.asarray(np.squeeze(x, axis=tuple(chosen)), object)
    return x.squeeze(chosen)


def _unsqueeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    chosen = _axes(node, axes) or []
    places = sorted(a % (x.ndim + len(chosen)) for a in chosen)
    if is_numbers(x):
        return np.expand_dims(x, tuple(places))
    for place in places:
        x = x.unsqueeze(place)
    return x


def _concat(node: Node, *values: Value) -> Value:
    axis = node.attributes["axis"]
    if all(is_numbers(value) for value in values):
        return np.concatenate(values, axis)
    like = next(value for value in values if isinstance(value, Tensor))
    return torch.cat([as_tensor(value, like) for value in values], axis)


def _split(node: Node, x: Value, lengths: Value | None = None) -> tuple[Value, ...]:
    axis = node.get("axis", 0)
    parts = node.get("split", None) if lengths is None else sizes(lengths)
    if parts is None:
        step = math.ceil(int(x.shape[axis]) / len(node.outputs))
        parts = [min(step, int(x.shape[axis]) - start) for start in range(0, int(x.shape[axis]), step)]
    if is_numbers(x):
        return tuple(np.split(x, list(itertools.accumulate(parts))[:-1], axis))
    return tuple(x.split(parts, axis))


def _slice(node: Node, x: Value, *given: Value) -> Value:
    if given:
        listed = [sizes(value) for value in given]
    else:  # attributes before opset 10
        listed = [node.attributes["starts"], node.attributes["ends"], *filter(None, [node.get("axes", None)])]
    starts, ends = listed[:2]
    axes = listed[2] if len(listed) > 2 else range(len(starts))
    steps = listed[3] if len(listed) > 3 else [1] * len(starts)
    where = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0 and not is_numbers(x):
            raise UnconvertibleError("Slice with a negative step")
        backwards = isinstance(end, int) and step < 0 and end < -x.shape[axis]
        where[axis] = slice(start, None if backwards else end, step)
    return x[tuple(where)]


def _gather(node: Node, x: Value, index: Value) -> Value:
    axis = node.get("axis", 0)
    if is_numbers(x) and is_numbers(index):
        return np.asarray(np.take(x, index.astype(np.int64), axis), object)
    x = as_tensor(x)
    if is_numbers(index) and index.ndim == 0:
        return x.select(axis, int(index))
    index = as_tensor(index).to(x.device)
    axis %= x.ndim
    index = torch.where(index < 0, index + x.shape[axis], index)
    taken = x.index_select(axis, index.reshape(-1))
    return taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _expand(_: Node, x: Value, shape: Value) -> Value:
    wanted = sizes(shape)
    missing = x.ndim - len(wanted)
    wanted = [1] * max(0, missing) + wanted
    own = [1] * max(0, -missing) + list(x.shape)
    target = [mine if isinstance(n, int) and n == 1 else n for mine, n in zip(own, wanted, strict=True)]
    return np.broadcast_to(x, target) if is_numbers(x) else x.expand(target)


def _tile(_: Node, x: Value, repeats: Value) -> Value:
    times = sizes(repeats)
    return np.tile(x, times) if is_numbers(x) else x.repeat(times)


def _pad(
    node: Node, x: Tensor, pads: Value | None = None, fill: Value | None = None, axes: Value | None = None
) -> Tensor:
    lengths = list(node.attributes["pads"]) if pads is None else sizes(pads)
    chosen = list(range(x.ndim)) if axes is None else [int(a) % x.ndim for a in sizes(axes)]
    before, after = lengths[: len(chosen)], lengths[len(chosen) :]
    by_axis = dict(zip(chosen, zip(before, after, strict=True), strict=True))
    ends = [by_axis.get(axis, (0, 0)) for axis in range(x.ndim)]
    value = node.get("value", 0.0) if fill is None else sizes(fill)[0] if is_numbers(fill) else float(fill)
    return padded(x, ends, mode=node.get("mode", "constant"), value=value)


def padded(x: Tensor, ends: list[tuple[Any, Any]], *, mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pad a tensor by so much before and after, an axis at a time from the first.

    Raises:
        UnconvertibleError: a mode, or a combination of mode and axes, that PyTorch does not have.
    """
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    first = next((axis for axis, end in enumerate(ends) if any(isinstance(n, int) is False or n for n in end)), None)
    if first is None:
        return x
    if mode not in names or (mode != "constant" and first < 2):
        raise UnconvertibleError(f"Pad with mode {mode!r} on axis {first}")
    start = first if mode == "constant" else 2
    flat = [n for end in reversed(ends[start:]) for n in end]
    return F.pad(x, flat, names[mode], value) if mode == "constant" else F.pad(x, flat, names[mode])


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    size = node.attributes["blocksize"]
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    batch, channels, height, width = x.shape
    h = x.reshape(batch, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return h.reshape(batch, channels // size**2, height * size, width * size)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    size = node.attributes["blocksize"]
    batch, channels, height, width = x.shape
    h = x.reshape(batch, channels, height // size, size, width // size, size).permute(0, 3, 5, 1, 2, 4)
    return h.reshape(batch, channels * size**2, height // size, width // size)


def _same(_: Node, x: Value, *__: Value) -> Value:
    return x


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Dropout": _same,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _same,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""PyTorch functions by ``op_type``; each is called with the node and its inputs."""
