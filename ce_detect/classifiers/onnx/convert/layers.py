"""ONNX operations that are layers of a network, as PyTorch functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.onnx.convert.layout import padded
from ce_detect.classifiers.onnx.convert.values import Node, UnconvertibleError, Value, is_numbers, operand, sizes

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _ends(node: Node, x: Tensor, kernel: list[int]) -> list[tuple[Any, Any]]:
    """Padding before and after, for each axis of space."""
    count = len(kernel)
    automatic = node.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", "VALID"):
        pads = node.get("pads", [0] * 2 * count) if automatic == "NOTSET" else [0] * 2 * count
        return list(zip(pads[:count], pads[count:], strict=True))
    found = []
    strides, dilations = node.get("strides", [1] * count), node.get("dilations", [1] * count)
    for size, side, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(int(size) / stride) - 1) * stride + (side - 1) * dilation + 1 - int(size))
        less, more = total // 2, total - total // 2
        found.append((less, more) if automatic == "SAME_UPPER" else (more, less))
    return found


def _even(ends: list[tuple[Any, Any]]) -> bool:
    return all(before == after for before, after in ends)


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kernel = list(weight.shape[2:])
    count = len(kernel)
    ends = _ends(node, x, kernel)
    if not _even(ends):
        x, ends = padded(x, [(0, 0), (0, 0), *ends]), [(0, 0)] * count
    return _CONVOLUTIONS[count](
        x, weight, bias, node.get("strides", [1] * count), [before for before, _ in ends],
        node.get("dilations", [1] * count), node.get("group", 1),
    )  # fmt: skip


def _conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    count = weight.ndim - 2
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.get("output_shape", None):
        raise UnconvertibleError("ConvTranspose with automatic padding or a given output shape")
    pads = node.get("pads", [0] * 2 * count)
    extra = [
        more + before - after
        for more, before, after in zip(node.get("output_padding", [0] * count), pads[:count], pads[count:], strict=True)
    ]
    if min(extra) < 0:
        raise UnconvertibleError("ConvTranspose with uneven padding")
    return _TRANSPOSED[count](
        x, weight, bias, node.get("strides", [1] * count), pads[:count], extra, node.get("group", 1),
        node.get("dilations", [1] * count),
    )  # fmt: skip


def _max_pool(node: Node, x: Tensor) -> Tensor:
    kernel = list(node.attributes["kernel_shape"])
    count = len(kernel)
    ends = _ends(node, x, kernel)
    if not _even(ends) or any(2 * before > side for (before, _), side in zip(ends, kernel, strict=True)):
        x, ends = padded(x, [(0, 0), (0, 0), *ends], value=float("-inf")), [(0, 0)] * count
    return _MAX_POOLS[count](
        x, kernel, node.get("strides", [1] * count), [before for before, _ in ends], node.get("dilations", [1] * count),
        bool(node.get("ceil_mode", 0)),
    )  # fmt: skip


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel = list(node.attributes["kernel_shape"])
    count = len(kernel)
    if any(dilation != 1 for dilation in node.get("dilations", [1])):
        raise UnconvertibleError("AveragePool with dilations")
    ends, counted = _ends(node, x, kernel), bool(node.get("count_include_pad", 0))
    pool, strides, up = _AVERAGE_POOLS[count], node.get("strides", [1] * count), bool(node.get("ceil_mode", 0))
    if _even(ends):
        return pool(x, kernel, strides, [before for before, _ in ends], up, counted)
    around = [(0, 0), (0, 0), *ends]
    means = pool(padded(x, around), kernel, strides, 0, up)
    return means if counted else means / pool(padded(torch.ones_like(x), around), kernel, strides, 0, up)


def _batch_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if node.get("training_mode", 0):
        raise UnconvertibleError("BatchNormalization in training mode")
    return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    axis = node.get("axis", -1) % x.ndim
    shape = list(x.shape[axis:])
    spread = None if shift is None else shift.expand(shape)
    return F.layer_norm(x, shape, scale.expand(shape), spread, node.get("epsilon", 1e-5))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=shift, eps=node.get("epsilon", 1e-5))


def _group_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    groups = node.attributes["num_groups"]
    if node.opset < 21:  # one factor a group
        scale, shift = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, shift))
    return F.group_norm(x, groups, scale, shift, node.get("epsilon", 1e-5))


def _lrn(node: Node, x: Tensor) -> Tensor:
    size = node.attributes["size"]
    if size % 2 == 0:
        raise UnconvertibleError("LRN over an even number of channels")
    return F.local_response_norm(x, size, node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0))


def _lp_norm(node: Node, x: Tensor) -> Tensor:
    return F.normalize(x, p=node.get("p", 2), dim=node.get("axis", -1))


def _gemm(node: Node, a: Tensor, b: Tensor, c: Value | None = None) -> Tensor:
    a = a.transpose(0, 1) if node.get("transA", 0) else a
    b = b.transpose(0, 1) if node.get("transB", 0) else b
    product: Tensor = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * operand(c, product)


def _linear(_: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def _global(function: Callable[..., Tensor]) -> Callable[[Node, Tensor], Tensor]:
    return lambda _, x: function(x, list(range(2, x.ndim)), keepdim=True)


def _resize(node: Node, x: Tensor, *given: Value | None) -> Tensor:
    """``Resize``, and ``Upsample`` before opset 10: nearest with floors, linear, or cubic as PyTorch has them."""
    scales, lengths = _target(node, given)
    space = x.ndim - 2
    size = None if lengths is None else lengths[-space:]
    factor = None if scales is None else [float(s) for s in scales[-space:]]
    mode, corners = _interpolation(node, whole=factor is not None and all(f >= 1 and f.is_integer() for f in factor))
    if mode in ("nearest", "nearest-exact"):
        return F.interpolate(x, size, factor, mode)
    if mode == "linear":
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[space]
    return F.interpolate(x, size, factor, mode, align_corners=corners)


def _target(node: Node, given: tuple[Value | None, ...]) -> tuple[list[Any] | None, list[Any] | None]:
    if "scales" in node.attributes:  # Upsample of opset 7
        return list(node.attributes["scales"]), None
    scales, lengths = given[0] if len(given) == 1 else given[1], given[2] if len(given) > 2 else None

    def listed(value: Value | None) -> list[Any] | None:
        if value is None or 0 in value.shape:
            return None
        return sizes(value) if is_numbers(value) else value.tolist()

    return listed(scales), listed(lengths)


def _interpolation(node: Node, *, whole: bool) -> tuple[str, bool | None]:
    """PyTorch's mode, and whether corners are aligned; ``whole``: every pixel becomes a whole number of pixels.

    Raises:
        UnconvertibleError: PyTorch computes no such interpolation.
    """
    mode = node.get("mode", "nearest")
    upsample = node.kind == "Upsample" or node.opset < 11
    where = node.get("coordinate_transformation_mode", "asymmetric" if upsample else "half_pixel")
    rounded = node.get("nearest_mode", "floor" if upsample else "round_prefer_floor")
    if mode == "nearest" and (where, rounded) == ("asymmetric", "floor"):
        return "nearest", None
    up = rounded == "round_prefer_ceil" or (whole and rounded == "round_prefer_floor")  # no ties then
    if mode == "nearest" and where == "half_pixel" and up:
        return "nearest-exact", None
    if node.get("antialias", 0) or node.get("exclude_outside", 0):
        raise UnconvertibleError("Resize with antialiasing")
    if mode in ("linear", "cubic") and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return "bicubic" if mode == "cubic" else mode, where == "align_corners"
    raise UnconvertibleError(f"Resize with mode {mode!r}, {where!r} and {rounded!r}")


OPERATIONS: dict[str, Callable[..., Any]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": lambda node, *values: torch.einsum(node.attributes["equation"], *values),
    "Gemm": _gemm,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "Linear": _linear,
    "LpNormalization": _lp_norm,
    "MatMul": lambda _, a, b: torch.matmul(a, b),
    "MaxPool": _max_pool,
    "Resize": _resize,
    "Upsample": _resize,
}
"""PyTorch functions by ``op_type``; each is called with the node and its inputs."""
