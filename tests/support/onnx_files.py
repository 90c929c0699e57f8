"""The tiny models of ``conftest`` as ONNX files, by both of PyTorch's exporters."""

from __future__ import annotations

import functools
import io
import logging
import warnings
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.demo.model import fashion_cnn
from support.models import TINY, tiny_images, tiny_model

EXPORTED = [name for name, tiny in TINY.items() if tiny.cut]


def exported(model: nn.Module, x: torch.Tensor, *, dynamo: bool = True, free: bool = True) -> onnx.ModelProto:
    """Export a model; with ``free`` for any batch size, else for that of ``x``."""
    buffer = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    named: dict[str, Any] = {"input_names": ["input"], "output_names": ["logits"], "verbose": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = ({0: torch.export.Dim.DYNAMIC},) if free else None
            program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=shapes, **named)
            assert program is not None
            proto = program.model_proto
        else:
            axes = {"input": {0: "batch"}} if free else None
            torch.onnx.export(model, (x,), buffer, dynamo=False, dynamic_axes=axes, **named)
            proto = onnx.load_from_string(buffer.getvalue())
    assert isinstance(proto, onnx.ModelProto)
    return proto


@functools.cache
def folder() -> Path:
    """Where files of a session lie."""
    import atexit
    import shutil

    made = mkdtemp(prefix="ce-detect-onnx-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@functools.cache
def tiny_file(name: str, *, dynamo: bool = True) -> Path:
    """A tiny model as a file, exported once a session."""
    path = folder() / f"{name}-{'dynamo' if dynamo else 'legacy'}.onnx"
    onnx.save(exported(tiny_model(name), tiny_images(name, 2), dynamo=dynamo), path)
    return path


def quantized(path: Path) -> onnx.ModelProto:
    """A graph whose pixels are rounded to 8 bits first, by operations that have no gradient and no conversion."""
    proto = onnx.load(path)
    scale, zero = (
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
        helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
    )
    proto.graph.initializer.extend([scale, zero])
    for node in proto.graph.node:
        node.input[:] = ["rounded" if name == "input" else name for name in node.input]
    before = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["rounded"]),
    ]
    nodes = [*before, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


@functools.cache
def demo_file() -> Path:
    """The packaged demo classifier as a file."""
    path = folder() / "classifier.onnx"
    onnx.save(exported(fashion_cnn(), torch.rand(2, 1, 28, 28)), path)
    return path


@functools.cache
def black_box_file() -> Path:
    """The demo classifier behind operations that cannot be converted."""
    path = folder() / "quantized.onnx"
    onnx.save(quantized(demo_file()), path)
    return path


def wrapped(model: nn.Module, name: str) -> Classifier:
    """A model that takes what a tiny model takes, as a classifier."""
    return wrap(model, input_shape=TINY[name].shape, bounds=TINY[name].bounds)
