"""ONNX operations that compute element by element or over axes, as PyTorch functions and on plain numbers."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.classifiers.onnx.convert.values import (
    Node,
    UnconvertibleError,
    Value,
    as_tensor,
    is_numbers,
    operand,
    sizes,
)

Operation = Callable[..., Any]


def _binary(on_tensors: Callable[[Any, Any], Any], on_numbers: Callable[[Any, Any], Any]) -> Operation:
    """An operation on two operands that broadcast."""

    def run(_: Node, a: Value, b: Value) -> Value:
        if is_numbers(a) and is_numbers(b):
            return np.asarray(np.frompyfunc(on_numbers, 2, 1)(a, b), object)
        like = b if isinstance(b, Tensor) else a
        assert isinstance(like, Tensor)
        result: Tensor = on_tensors(operand(a, like), operand(b, like))
        return result

    return run


def _unary(on_tensors: Callable[[Tensor], Tensor], on_numbers: Callable[[Any], Any] | None = None) -> Operation:
    def run(_: Node, x: Value) -> Value:
        if is_numbers(x) and on_numbers is not None:
            return np.asarray(np.frompyfunc(on_numbers, 1, 1)(x), object)
        return on_tensors(as_tensor(x))

    return run


def _divided(a: Any, b: Any) -> Any:
    """Quotient, of whole numbers rounded towards zero."""
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return a // b if isinstance(a, int) is False or a * b >= 0 else -(-a // b)


def _div(a: Any, b: Any) -> Any:
    whole = not any(isinstance(v, float) or (isinstance(v, Tensor) and v.is_floating_point()) for v in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _power(base: Any, exponent: Any) -> Any:
    return torch.pow(base, exponent)


def _variadic(on_tensors: Callable[[Any, Any], Any], on_numbers: Callable[[Any, Any], Any]) -> Operation:
    pair = _binary(on_tensors, on_numbers)
    return lambda node, *values: functools.reduce(lambda a, b: pair(node, a, b), values)


def _tensors(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Any], Tensor]:
    """For functions that take no Python number."""

    def run(a: Any, b: Any) -> Tensor:
        like = a if isinstance(a, Tensor) else b
        a, b = (v if isinstance(v, Tensor) else torch.full((), v, dtype=like.dtype) for v in (a, b))
        return function(a, b)

    return run


def _mean(node: Node, *values: Value) -> Any:
    return OPERATIONS["Sum"](node, *values) / len(values)


def _where(_: Node, condition: Value, a: Value, b: Value) -> Value:
    if is_numbers(condition) and is_numbers(a) and is_numbers(b):
        return np.asarray(np.where(condition.astype(bool), a, b), object)
    like = next(v for v in (a, b, condition) if isinstance(v, Tensor))
    return torch.where(as_tensor(condition), operand(a, like), operand(b, like))


def _clip(node: Node, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    x = as_tensor(x)
    ends = [node.get(name, None) if end is None else operand(end, x) for name, end in (("min", low), ("max", high))]
    return x if ends == [None, None] else torch.clamp(x, *ends)


def _softmax(function: Callable[..., Tensor]) -> Operation:
    def run(node: Node, x: Tensor) -> Tensor:
        axis = node.get("axis", -1 if node.opset >= 13 else 1)
        if node.opset < 13 and axis % x.ndim != x.ndim - 1:  # before opset 13 over all axes from this one on
            return function(x.flatten(axis), -1).reshape(x.shape)
        return function(x, axis)

    return run


def _reduced(on_tensors: Callable[..., Tensor], on_numbers: Callable[..., Any] | None = None) -> Operation:
    """A reduction over axes, which are an attribute in older operator sets."""

    def run(node: Node, x: Value, axes: Value | None = None) -> Value:
        chosen = node.get("axes", None) if axes is None else sizes(axes)
        keep = bool(node.get("keepdims", 1))
        if not chosen and node.get("noop_with_empty_axes", 0):
            return x
        if is_numbers(x) and on_numbers is not None:
            axis = None if not chosen else tuple(int(a) for a in chosen)
            return np.asarray(on_numbers(x, axis=axis, keepdims=keep), object)
        x = as_tensor(x)
        return on_tensors(x, [int(a) for a in chosen] if chosen else list(range(x.ndim)), keep)

    return run


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return torch.clamp(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0, 1)


def _gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.get("approximate", "none"))


def _prelu(_: Node, x: Tensor, slope: Value) -> Tensor:
    return torch.where(x >= 0, x, operand(slope, x) * x)


def _cast(node: Node, x: Value) -> Value:
    kind = _TYPES.get(node.attributes["to"])
    if kind is None:
        raise UnconvertibleError(f"Cast to the ONNX type {node.attributes['to']}")
    if not is_numbers(x):
        return x.to(kind)
    if kind.is_floating_point:
        return np.asarray(np.frompyfunc(_as_float, 1, 1)(x), object)
    if kind is torch.bool:
        return np.asarray(np.frompyfunc(bool, 1, 1)(x), object)
    return np.asarray(np.frompyfunc(_as_whole, 1, 1)(x), object)


def _as_float(number: Any) -> Any:
    return torch.sym_float(number)


def _as_whole(number: Any) -> Any:
    return int(number) if isinstance(number, bool | np.bool_) else torch.sym_int(number)


_TYPES = {  # onnx.TensorProto
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip

OPERATIONS: dict[str, Operation] = {
    "Abs": _unary(torch.abs, abs),
    "Add": _binary(operator.add, operator.add),
    "And": _binary(operator.and_, operator.and_),
    "Cast": _cast,
    "Ceil": _unary(torch.ceil, math.ceil),
    "Celu": lambda node, x: F.celu(x, node.get("alpha", 1.0)),
    "Clip": _clip,
    "Cos": _unary(torch.cos),
    "Div": _binary(_div, _divided),
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Equal": _binary(operator.eq, operator.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Floor": _unary(torch.floor, math.floor),
    "Gelu": _gelu,
    "Greater": _binary(operator.gt, operator.gt),
    "GreaterOrEqual": _binary(operator.ge, operator.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary(F.hardswish),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Less": _binary(operator.lt, operator.lt),
    "LessOrEqual": _binary(operator.le, operator.le),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Max": _variadic(_tensors(torch.maximum), max),
    "Mean": _mean,
    "Min": _variadic(_tensors(torch.minimum), min),
    "Mish": _unary(F.mish),
    "Mod": _binary(torch.remainder, operator.mod),
    "Mul": _binary(operator.mul, operator.mul),
    "Neg": _unary(torch.neg, operator.neg),
    "Not": _unary(torch.logical_not, operator.not_),
    "Or": _binary(operator.or_, operator.or_),
    "PRelu": _prelu,
    "Pow": _binary(_power, operator.pow),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL1": _reduced(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reduced(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "ReduceMax": _reduced(torch.amax, np.max),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin, np.min),
    "ReduceProd": _reduced(_product, np.prod),
    "ReduceSum": _reduced(torch.sum, np.sum),
    "ReduceSumSquare": _reduced(lambda x, axes, keep: x.square().sum(axes, keep)),
    "Relu": _unary(torch.relu),
    "Round": _unary(torch.round),
    "Selu": _unary(F.selu),
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Softmax": _softmax(torch.softmax),
    "Softplus": _unary(F.softplus),
    "Softsign": _unary(F.softsign),
    "Sqrt": _unary(torch.sqrt, lambda number: torch.sym_sqrt(number)),
    "Sub": _binary(operator.sub, operator.sub),
    "Sum": _variadic(operator.add, operator.add),
    "Tanh": _unary(torch.tanh),
    "ThresholdedRelu": lambda node, x: torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x)),
    "Where": _where,
}
"""PyTorch functions by ``op_type``; each is called with the node and its inputs."""
