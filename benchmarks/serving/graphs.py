"""The fused graph and the bare model's: their bytes, and sessions of ONNX Runtime on them."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import onnxruntime
import torch
from torch import nn

from benchmarks.face import fused
from ce_detect import DetectedModel


def bare_graph(model: nn.Module, example: torch.Tensor) -> bytes:
    """The model alone as PyTorch exports it."""
    with contextlib.redirect_stdout(io.StringIO()):
        made = torch.onnx.export(
            model, (example,), input_names=["input"], output_names=["logits"], verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    assert made is not None
    content: bytes = made.model_proto.SerializeToString()
    return content


def opened(graph: bytes, threads: int, profile: str | None = None) -> onnxruntime.InferenceSession:
    """A session on the CPU; with ``profile`` as prefix it writes one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def small(size: int, bare: int) -> bool:
    """Whether a graph of so many bytes is as small as it has to be beside the bare model's."""
    return size <= 1.1 * bare + 1e6


def sizes(guard: DetectedModel) -> dict[str, Any]:
    """Bytes of the exported graph and of the bare model's."""
    size = len(fused(guard.gate, guard.manifest).SerializeToString())
    bare = len(bare_graph(guard.model, torch.zeros(2, *guard.classifier.input_shape)))
    return {"bytes": size, "bare_bytes": bare, "small": small(size, bare)}
